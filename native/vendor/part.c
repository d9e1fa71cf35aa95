// A number keeps its value until the next read of its device, and counts in the mean of a window by the time between
// two FAST reads, in the tick that first sees the later one: a value that stands is not measured again. What is read
// more seldom still (SECOND, SLOW) is carried along with the fast ones.
#include "part.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

_Static_assert(NUMBER_COUNT <= 64, "a number is a bit of device.has");
_Static_assert(MAX_DEVICES * NUMBER_COUNT <= DEVICE_CAPACITY, "room for the devices of one vendor");

#define ALWAYS UINT64_MAX
#define FOUND 0
static const struct {
  enum family family;
  const char *label;
  uint64_t when;
} numbers[NUMBER_COUNT] = {
#define X(id, family, label, when) {family, label, when},
    NUMBERS(X)
#undef X
};

static const int64_t SETTLE_NS = 30000000000;  // a library that takes longer to open has no priority any more
enum { MAX_WEIGHT_ROUNDS = 2 };  // a device that was away for long counts from when it was back

// Where the columns of a device begin; `has` as they were announced.
struct place {
  int32_t number;
  uint64_t has;
  size_t first, count;  // count 0: no room in the row
  int64_t seen_ns;      // of the FAST read that was counted last
};

struct places {
  size_t count, capacity;
  struct place *at;
};

struct device_part {
  struct crew *crew;
  struct places teams[MAX_TEAMS];
};

struct device_part *device_part_open(struct crew *crew) {
  struct device_part *part = calloc(1, sizeof *part);
  if (part == NULL) return NULL;
  part->crew = crew;
  crew_hold(crew);
  return part;
}

void device_part_close(struct device_part *part) {
  for (size_t i = 0; i < MAX_TEAMS; i++) free(part->teams[i].at);
  crew_release(part->crew);
  free(part);
}

bool device_part_is_settling(struct device_part *part, int64_t now_ns) {
  bool is_settling = false;
  if (now_ns - part->crew->started_ns > SETTLE_NS) return false;
  for (size_t i = 0; i < part->crew->team_count; i++) {
    struct team *team = part->crew->teams[i];
    pthread_mutex_lock(&team->lock);
    is_settling = is_settling || !team->is_settled;
    pthread_mutex_unlock(&team->lock);
  }
  return is_settling;
}

static bool is_announced(uint64_t has, int number) { return ((has | numbers[number].when) >> number & 1) != 0; }

static void announce(struct place *place, const struct entry *entry, struct row *row) {
  bool is_same = place->number == entry->number;
  *place = (struct place){entry->number, entry->facts.has, row->count, 0, is_same ? place->seen_ns : entry->fresh_ns};
  if (row->count + NUMBER_COUNT >= ROW_CAPACITY) return;
  for (int n = 0; n < NUMBER_COUNT; n++)
    if (is_announced(place->has, n)) row_add_device(row, numbers[n].family, numbers[n].label, entry->number);
  place->count = row->count - place->first;
}

static bool make_room(struct places *places, size_t count) {
  if (count <= places->capacity) return true;
  struct place *more = realloc(places->at, 2 * count * sizeof *more);
  if (more == NULL) return false;
  memset(more + places->capacity, 0, (2 * count - places->capacity) * sizeof *more);
  for (size_t i = places->capacity; i < 2 * count; i++) more[i].number = NO_NUMBER;
  places->at = more;
  places->capacity = 2 * count;
  return true;
}

void device_part_announce(struct device_part *part, struct row *row) {
  for (size_t i = 0; i < part->crew->team_count; i++) {
    struct team *team = part->crew->teams[i];
    struct places *places = &part->teams[i];
    pthread_mutex_lock(&team->lock);
    // Without memory those that are there already keep their columns.
    size_t count = make_room(places, team->count) ? team->count : places->capacity;
    for (size_t e = 0; e < count; e++) announce(&places->at[e], team->entries[e], row);
    places->count = count;
    pthread_mutex_unlock(&team->lock);
  }
}

// Hot: every tick and device. The seconds that the device's values stand for in this tick.
static double take_weight(struct place *place, const struct team *team, const struct entry *entry, double elapsed) {
  if (entry->fresh_ns == place->seen_ns) return 0;
  int64_t since_ns = place->seen_ns > 0 ? entry->fresh_ns - place->seen_ns : 0;
  int64_t round_ns = team->round_ns > team->fast_ns ? team->round_ns : team->fast_ns;
  bool was_away = since_ns <= 0 || since_ns > MAX_WEIGHT_ROUNDS * round_ns;
  place->seen_ns = entry->fresh_ns;
  return was_away ? elapsed : (double)since_ns / 1e9;
}

// Hot: every tick and device.
static void fill(struct place *place, const struct team *team, struct entry *entry, struct row *row, int64_t now_ns,
                 double elapsed) {
  enum reason absence = entry_absence(team, entry, now_ns);
  if (absence != entry->told) roster_changed();
  entry->told = absence;
  if (place->number != entry->number || place->has != entry->facts.has) row->stale = true;
  if (place->number != entry->number) absence = LOST;
  if (absence != PRESENT) {
    row_absent_range(row, place->first, place->count, absence);
    return;
  }
  double weight = take_weight(place, team, entry, elapsed);
  size_t column = place->first;
  for (int n = 0; n < NUMBER_COUNT && place->count > 0; n++) {
    if (!is_announced(place->has, n)) continue;
    uint8_t reason = entry->shown.reasons[n];
    row->weights[column] = weight;
    if (reason != PRESENT) row_absent(row, column, reason <= NOT_YET ? reason : ERROR);
    else if (!isfinite(entry->shown.values[n])) row_absent(row, column, ERROR);
    else row_set(row, column, entry->shown.values[n]);
    column++;
  }
}

void device_part_read(struct device_part *part, struct row *row, int64_t now_ns, double elapsed) {
  for (size_t i = 0; i < part->crew->team_count; i++) {
    struct team *team = part->crew->teams[i];
    struct places *places = &part->teams[i];
    pthread_mutex_lock(&team->lock);
    worker_watch(team, now_ns);
    if (team->count > places->count) row->stale = true;
    for (size_t e = 0; e < places->count; e++) fill(&places->at[e], team, team->entries[e], row, now_ns, elapsed);
    pthread_mutex_unlock(&team->lock);
  }
}
