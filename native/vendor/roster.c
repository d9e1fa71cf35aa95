// The devices of a team: who is there, what was read last, and what that means. No vendor's call but `release`, which
// only frees, is made here.
#include "roster.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t LATE_ROUND_NS = 10000000000;  // a round of reads that takes longer makes its devices late
static const int64_t SLACK_NS = 500000000;          // as long as a busy machine keeps a thread waiting
enum { SPREAD = 16 };

// The revision and the numbers belong to the process: readers come and go.

static atomic_uint_fast64_t revision;

void roster_changed(void) { atomic_fetch_add(&revision, 1); }
uint64_t crew_revision(void) { return atomic_load(&revision); }

enum { MAX_NUMBERS = 16384 };
static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct numbered {
  const char *vendor;
  char id[sizeof((struct device *)NULL)->id];
} *numbers;
static int32_t number_count;

int32_t roster_number(const char *vendor, const char *id) {
  pthread_mutex_lock(&numbers_lock);
  int32_t number = 0;
  while (number < number_count && (strcmp(numbers[number].id, id) != 0 || strcmp(numbers[number].vendor, vendor) != 0))
    number++;
  if (number == number_count) {
    // Grows by doubling: 16, 32, ... The names of vendors are literals.
    bool is_full = number >= 16 && (number & (number - 1)) == 0;
    struct numbered *more = number < MAX_NUMBERS ? numbers : NULL;
    if (number == 0 || (is_full && number < MAX_NUMBERS))
      more = realloc(numbers, (size_t)(number == 0 ? 16 : 2 * number) * sizeof *numbers);
    if (more != NULL) {
      numbers = more;
      numbers[number].vendor = vendor;
      snprintf(numbers[number].id, sizeof numbers->id, "%s", id);
      number_count++;
    } else number = NO_NUMBER;
  }
  pthread_mutex_unlock(&numbers_lock);
  return number;
}

// Standing.

static void tell(struct team *team, const struct entry *entry, int kind) {
  struct happening happening = {.number = entry->number, .kind = kind, .count = 1};
  memcpy(happening.bus_id, entry->facts.bus_id, sizeof happening.bus_id);
  event_store_add(&team->crew->events, &happening);
}

void entry_stand(struct team *team, struct entry *entry, enum reason reason) {
  bool was_lost = entry->standing == LOST;
  // DENIED and ERROR do not say that it is back.
  if (entry->standing == reason || (was_lost && reason != PRESENT)) return;
  entry->standing = reason;
  if (reason == LOST) tell(team, entry, EVENT_LOST);
  if (was_lost) tell(team, entry, EVENT_RETURNED);
  roster_changed();
}

enum reason entry_absence(const struct team *team, const struct entry *entry, int64_t now_ns) {
  if (entry->standing == LOST) return LOST;
  if (entry->is_hung) return LATE;
  if (entry->standing != PRESENT) return (enum reason)entry->standing;
  // What was said in the last round stands, however long a round takes, within reason; and while the crew finds out
  // that a call on another device hangs.
  int64_t round_ns = team->round_ns < LATE_ROUND_NS ? team->round_ns : LATE_ROUND_NS;
  int64_t pace_ns = team->fast_ns > round_ns ? team->fast_ns : round_ns;
  return now_ns - entry->fresh_ns > pace_ns + team->crew->period_ns + CALL_LIMIT_NS + SLACK_NS ? LATE : PRESENT;
}

static enum reason reason_of_outcomes(const struct entry *entry) {
  static const enum reason reasons[] = {PRESENT, LOST, DENIED, ERROR, LOST};
  enum reason worst = PRESENT;
  for (int pace = 0; pace < PACE_COUNT; pace++) {
    enum reason reason = reasons[entry->outcomes[pace]];
    if (worst == PRESENT || reason == LOST) worst = reason != PRESENT ? reason : worst;
  }
  return worst;
}

// What a read found.

static void end_text(char *text, size_t size) { text[size - 1] = '\0'; }
#define END(text) end_text(text, sizeof text)

// A vendor's file is ours, but what it copies comes from a library.
static void check_sample(struct sample *sample) {
  if (sample->code_count > MAX_CODES) sample->code_count = MAX_CODES;
  if (sample->process_count > MAX_PROCESSES) sample->process_count = MAX_PROCESSES;
  if (sample->link_count > MAX_LINKS) sample->link_count = MAX_LINKS;
  END(sample->problem);
}

static bool copy_if_other(void *to, const void *from, size_t size) {
  if (memcmp(to, from, size) == 0) return false;
  memcpy(to, from, size);
  return true;
}

#define COPY(field) copy_if_other(shown->field, found->field, sizeof shown->field)
#define COPY_LIST(field, count) \
  (shown->count != found->count || memcmp(shown->field, found->field, found->count * sizeof *shown->field) != 0)

// Hot: every tick and device. Lists come with the slower paces.
static bool show_sample(struct sample *shown, const struct sample *found, enum pace pace) {
  memcpy(shown->values, found->values, sizeof shown->values);
  memcpy(shown->reasons, found->reasons, sizeof shown->reasons);
  bool has_changed = COPY(signals);
  if (COPY_LIST(codes, code_count)) {
    shown->code_count = found->code_count;
    memcpy(shown->codes, found->codes, found->code_count * sizeof *found->codes);
    has_changed = true;
  }
  if (pace == PACE_FAST) return has_changed;
  if (COPY_LIST(processes, process_count) || shown->processes_reason != found->processes_reason) {
    shown->process_count = found->process_count;
    shown->processes_reason = found->processes_reason;
    memcpy(shown->processes, found->processes, found->process_count * sizeof *found->processes);
    has_changed = true;
  }
  if (COPY_LIST(links, link_count)) {
    shown->link_count = found->link_count;
    memcpy(shown->links, found->links, found->link_count * sizeof *found->links);
    has_changed = true;
  }
  return has_changed;
}

static int64_t pace_ns(const struct team *team, enum pace pace) {
  return pace == PACE_FAST ? team->fast_ns : pace == PACE_SECOND ? SECOND_NS : 10 * SECOND_NS;
}

static void set_due(const struct team *team, struct entry *entry, enum pace pace, enum outcome outcome) {
  int64_t wait_ns = pace_ns(team, pace);
  // A device that cannot be read is asked once a second: whatever pace failed must work again.
  if (outcome != OUTCOME_OK) wait_ns = SECOND_NS > team->fast_ns ? SECOND_NS : team->fast_ns;
  // After the first reads the devices spread over the slower paces, so that no round asks them all.
  else if (pace != PACE_FAST && entry->ended_ns[pace] == 0) wait_ns = wait_ns * (entry->number % SPREAD + 1) / SPREAD;
  // Counted from the beginning of the round, so that the devices stay together.
  entry->due_ns[pace] = team->round_started_ns + wait_ns;
}

// Hot: every tick and device.
void entry_ended(struct team *team, struct entry *entry, enum pace pace, enum outcome outcome, int64_t now_ns) {
  struct sample *found = &entry->seat->sample;
  bool was_bad = entry->standing != PRESENT;
  entry->outcomes[pace] = outcome;
  set_due(team, entry, pace, outcome);
  entry->ended_ns[pace] = now_ns;
  check_sample(found);
  enum reason reason = reason_of_outcomes(entry);
  if (outcome == OUTCOME_OK) {
    if (pace == PACE_FAST) entry->fresh_ns = now_ns;
    if (show_sample(&entry->shown, found, pace)) roster_changed();
    if (entry->facts.has != entry->seat->device.has) {
      entry->facts.has = entry->seat->device.has;
      roster_changed();
    }
  }
  // Nothing is known before the numbers of the fastest pace came once.
  if (reason == PRESENT && entry->fresh_ns == 0) return;
  const char *problem = outcome == OUTCOME_OK ? "" : found->problem;
  if (reason == PRESENT || outcome != OUTCOME_OK)
    if (strcmp(entry->shown.problem, problem) != 0) {
      snprintf(entry->shown.problem, sizeof entry->shown.problem, "%s", problem);
      roster_changed();
    }
  entry_stand(team, entry, reason);
  // What stood while it could not be read is asked for anew.
  if (was_bad && entry->standing == PRESENT) entry->due_ns[PACE_SECOND] = entry->due_ns[PACE_SLOW] = now_ns;
}

// Who is there.

static void check_device(struct device *device) {
  END(device->id), END(device->parent), END(device->name), END(device->bus_id), END(device->serial);
  END(device->firmware), END(device->profile), END(device->compute_capability);
}

// What is shown of it; addresses and what lies between the fields are no facts.
static bool show_facts(struct entry *entry, const struct device *device) {
  struct device facts = *device;
  facts.handle = facts.extra = NULL;
  if (entry->seat != NULL) facts.has = entry->seat->device.has;
  return copy_if_other(&entry->facts, &facts, sizeof facts);
}

static struct seat *seat_new(struct session *session, const struct device *device) {
  struct seat *seat = calloc(1, sizeof *seat);
  if (seat == NULL) return NULL;
  seat->session = session;
  seat->device = *device;
  for (int i = 0; i < NUMBER_COUNT; i++) sample_absent(&seat->sample, i, NOT_YET);
  for (int i = 0; i < SIGNAL_COUNT; i++) seat->sample.signals[i] = NAN;
  seat->sample.processes_reason = NOT_YET;
  return seat;
}

static struct entry *find_entry(const struct team *team, const char *id, size_t guess) {
  if (guess < team->count && strcmp(team->entries[guess]->facts.id, id) == 0) return team->entries[guess];
  for (size_t i = 0; i < team->count; i++)
    if (strcmp(team->entries[i]->facts.id, id) == 0) return team->entries[i];
  return NULL;
}

// A place in the list: a new one at its end or, when it is full, that of a device that is gone.
static struct entry *entry_new(struct team *team, const char *id) {
  int32_t number = roster_number(team->vendor->name, id);
  if (number == NO_NUMBER) return NULL;
  struct entry *entry = NULL;
  if (team->count < MAX_DEVICES) {
    entry = calloc(1, sizeof *entry);
    if (entry != NULL) team->entries[team->count++] = entry;
  } else {
    for (size_t i = 0; i < team->count && entry == NULL; i++)
      if (team->entries[i]->is_gone && team->entries[i]->seat == NULL && !team->entries[i]->is_seen)
        entry = team->entries[i];
    if (entry != NULL) memset(entry, 0, sizeof *entry);
  }
  if (entry == NULL) return NULL;
  entry->number = number;
  entry->standing = entry->told = NOT_YET;
  for (int i = 0; i < NUMBER_COUNT; i++) sample_absent(&entry->shown, i, NOT_YET);
  for (int i = 0; i < SIGNAL_COUNT; i++) entry->shown.signals[i] = NAN;
  entry->shown.processes_reason = NOT_YET;
  return entry;
}

void entry_leave(struct team *team, struct entry *entry) {
  struct seat *seat = entry->seat;
  if (seat == NULL) return;
  entry->seat = NULL;
  if (team->vendor->release != NULL) team->vendor->release(&seat->device);
  free(seat);
}

static void take_seat(struct team *team, struct entry *entry, struct seat *seat) {
  entry_leave(team, entry);
  entry->seat = seat;
  entry->fresh_ns = 0;
  for (int pace = 0; pace < PACE_COUNT; pace++) {
    entry->outcomes[pace] = OUTCOME_OK;
    entry->due_ns[pace] = entry->ended_ns[pace] = 0;
  }
}

bool roster_adopt(struct team *team, struct session *session, size_t position, struct device *device) {
  check_device(device);
  struct entry *entry = device->id[0] != '\0' ? find_entry(team, device->id, position) : NULL;
  bool is_new = entry == NULL && device->id[0] != '\0';
  if (is_new) entry = entry_new(team, device->id);
  bool is_doubled = entry != NULL && entry->is_seen;
  bool is_known = entry != NULL && entry->seat != NULL && entry->seat->session == session;
  // One that cannot be read gets a new seat: its old handle may be what does not work.
  bool is_kept = is_known && (entry->standing == PRESENT || entry->standing == NOT_YET);
  struct seat *seat = entry == NULL || is_kept || is_doubled || entry->is_called ? NULL : seat_new(session, device);
  if (entry != NULL && !is_doubled) {
    entry->is_seen = true;
    entry->is_gone = false;
    if (seat != NULL) take_seat(team, entry, seat);
    if (show_facts(entry, device) || is_new) roster_changed();
  }
  if (seat == NULL && team->vendor->release != NULL) team->vendor->release(device);
  return entry != NULL;
}

void roster_begin(struct team *team) {
  for (size_t i = 0; i < team->count; i++) team->entries[i]->is_seen = false;
}

void roster_finish(struct team *team) {
  for (size_t i = 0; i < team->count; i++) {
    struct entry *entry = team->entries[i];
    if (entry->is_seen) continue;
    entry->is_gone = true;
    // Whoever is in a call on it lets it go when that comes back.
    if (!entry->is_called) entry_leave(team, entry);
    entry_stand(team, entry, LOST);
  }
}
