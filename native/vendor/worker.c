// The workers: the threads that call vendors, and what their calls bring.
//
// Each team (one vendor) has one worker. It opens the library, lists the devices, and reads those that are due, one
// round per tick of the reader, or as seldom as the vendor wants. Where the vendor has events, a listener waits for
// them (listen.c).
//
// A call that hangs: the reader's tick looks at the clock of the present call (`worker_watch`). After CALL_LIMIT_NS it
// takes the worker out of the team and starts another, which goes on with the other devices. The old thread stays in
// its call; when that comes back it puts its device back into the team and ends. What it brought is shown with the
// next read of the device: numbers of the slower paces as they came, those of the fastest read anew. A hung
// enumeration counts when it comes back. A hung `open` has nothing that a second worker could do, so none is started.
// With MAX_HUNG threads hanging, the team stands still and its devices are late.
//
// Sessions: the team and every thread in a call hold a reference; who lets go of the last one closes it. So a session
// with a call in flight is never closed, and a new one may stand beside it.
//
// Ends: threads are detached and counted, and each holds the crew. `crew_join` waits for those that do not hang; what
// a hung one needs stays until its call comes back, on purpose.
#include "worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../clock.h"
#include "listen.h"

static const int64_t ENUMERATE_NS = 10000000000;
static const int64_t BACKOFF_MAX_NS = 10000000000;
static const int64_t MISSING_NS = 30000000000;  // a library may be installed while we run

struct worker {
  struct team *team;
  bool is_replaced;                     // under the team's lock
  char names[MAX_PROCESSES][COMM_SIZE];  // of the processes in the call in progress
};

// Sessions. With the team's lock held, which is let go of for a closing.

void session_release(struct team *team, struct session *session) {
  if (--session->references > 0) return;
  // Another session may use the library, and so may an `open` in progress.
  bool unload = --team->sessions == 0 && team->call != CALL_OPEN;
  pthread_mutex_unlock(&team->lock);
  team->vendor->close(session->opened, unload);
  free(session);
  pthread_mutex_lock(&team->lock);
}

void team_state(struct team *team, enum team_state state, const char *problem) {
  if (team->state == state && strcmp(team->report.problem, problem) == 0) return;
  team->state = state;
  if (problem != team->report.problem) snprintf(team->report.problem, sizeof team->report.problem, "%s", problem);
  roster_changed();
}

static void back_off(struct team *team) {
  team->backoff_ns = team->backoff_ns * 2 < BACKOFF_MAX_NS ? team->backoff_ns * 2 : BACKOFF_MAX_NS;
}

// The driver is gone: all devices are lost until a new session has them.
static void lose_session(struct team *team, const char *problem, int64_t now_ns) {
  struct session *session = team->session;
  team->session = NULL;
  team->open_due_ns = now_ns + team->backoff_ns;
  back_off(team);
  team_state(team, TEAM_FAILED, problem[0] != '\0' ? problem : "the driver does not answer any more");
  for (size_t i = 0; i < team->count; i++) {
    struct entry *entry = team->entries[i];
    if (!entry->is_called) entry_leave(team, entry);
    entry_stand(team, entry, LOST);
  }
  pthread_cond_broadcast(&team->wake);
  session_release(team, session);
}

// Calls. With the team's lock held, which is let go of for the call.

static void call_begins(struct worker *w, enum call call, struct entry *entry, struct session *session) {
  struct team *team = w->team;
  team->call = call;
  team->call_entry = entry;
  team->call_ns = monotonic_ns();
  if (session != NULL) session->references++;
  pthread_mutex_unlock(&team->lock);
}

// When the call began is over: a worker that was replaced meanwhile has no say in the team any more.
static void call_ended(struct worker *w) {
  pthread_mutex_lock(&w->team->lock);
  if (w->is_replaced) w->team->hung--;
  else w->team->call = CALL_NONE;
}

static void open_session(struct worker *w) {
  struct team *team = w->team;
  struct vendor_report report = {0};
  bool missing = false;
  call_begins(w, CALL_OPEN, NULL, NULL);
  void *opened = team->vendor->open != NULL ? team->vendor->open(&report, &missing) : NULL;
  missing = missing || team->vendor->open == NULL;
  struct session *session = opened != NULL ? calloc(1, sizeof *session) : NULL;
  if (opened != NULL && session == NULL) team->vendor->close(opened, false);
  call_ended(w);
  int64_t now_ns = monotonic_ns();
  report.library[sizeof report.library - 1] = report.driver_version[sizeof report.driver_version - 1] = '\0';
  report.problem[sizeof report.problem - 1] = '\0';
  team->is_settled = session == NULL;
  if (session == NULL) {
    if (missing) memset(&report, 0, sizeof report);
    else if (report.problem[0] == '\0') snprintf(report.problem, sizeof report.problem, "the library cannot be used");
    team_state(team, missing ? TEAM_MISSING : TEAM_FAILED, report.problem);
    team->report = report;
    team->open_due_ns = now_ns + (missing ? MISSING_NS : team->backoff_ns);
    if (!missing) back_off(team);
    return;
  }
  *session = (struct session){opened, 1};
  // What was wrong before stands until the devices are listed.
  if (report.problem[0] == '\0') memcpy(report.problem, team->report.problem, sizeof report.problem);
  team->report = report;
  team->sessions++;
  team->session = session;
  team->enumerate_due_ns = 0;
  roster_changed();
  listen_start(team);
}

static void take_devices(struct team *team, struct session *session, struct device *devices, size_t count) {
  if (count > MAX_DEVICES) count = MAX_DEVICES;
  roster_begin(team);
  bool is_whole = true;
  for (size_t i = 0; i < count; i++) {
    if (team->session == session) is_whole = roster_adopt(team, session, i, &devices[i]) && is_whole;
    else if (team->vendor->release != NULL) team->vendor->release(&devices[i]);
    // The reader may look in between: a new device costs some memory.
    pthread_mutex_unlock(&team->lock);
    pthread_mutex_lock(&team->lock);
  }
  if (team->session != session) return;
  roster_finish(team);
  team->backoff_ns = BACKOFF_MIN_NS;
  team_state(team, TEAM_OPEN, is_whole ? "" : "more devices than can be kept");
}

static void enumerate(struct worker *w) {
  struct team *team = w->team;
  struct session *session = team->session;
  struct vendor_report report = team->report;
  struct device *devices = calloc(MAX_DEVICES, sizeof *devices);
  size_t count = 0;
  if (devices == NULL) {
    team->enumerate_due_ns = monotonic_ns() + ENUMERATE_NS;
    return;
  }
  report.problem[0] = '\0';
  team->is_enumerate_called = true;
  call_begins(w, CALL_ENUMERATE, NULL, session);
  enum outcome outcome = team->vendor->enumerate(session->opened, devices, MAX_DEVICES, &count, &report);
  call_ended(w);
  int64_t now_ns = monotonic_ns();
  report.problem[sizeof report.problem - 1] = '\0';
  team->enumerate_due_ns = now_ns + (outcome == OUTCOME_OK ? ENUMERATE_NS : SECOND_NS);
  if (team->session == session && outcome == OUTCOME_VENDOR_LOST) lose_session(team, report.problem, now_ns);
  else if (team->session == session && outcome == OUTCOME_OK) {
    memcpy(team->report.driver_version, report.driver_version, sizeof report.driver_version);
    team->report.driver_version[sizeof report.driver_version - 1] = '\0';
    take_devices(team, session, devices, count);
  } else {
    for (size_t i = 0; i < count && i < MAX_DEVICES && outcome == OUTCOME_OK; i++)
      if (team->vendor->release != NULL) team->vendor->release(&devices[i]);
    if (team->session == session)
      team_state(team, TEAM_FAILED, report.problem[0] != '\0' ? report.problem : "the devices cannot be listed");
  }
  free(devices);
  team->is_enumerate_called = false;
  session_release(team, session);
}

// Names of the processes in a sample, while it is the caller's.
static void read_names(struct worker *w, const struct sample *sample) {
  char path[32];
  for (size_t i = 0; i < sample->process_count && i < MAX_PROCESSES; i++) {
    memset(w->names[i], 0, COMM_SIZE);
    snprintf(path, sizeof path, "%u/comm", sample->processes[i].pid);
    int fd = openat(w->team->crew->proc, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) continue;
    ssize_t got = read(fd, w->names[i], COMM_SIZE - 1);
    close(fd);
    for (ssize_t c = 0; c < got; c++)
      if (w->names[i][c] == '\n') w->names[i][c] = '\0';
  }
}

static void read_entry(struct worker *w, struct entry *entry, enum pace pace) {
  struct team *team = w->team;
  struct seat *seat = entry->seat;
  struct session *session = seat->session;
  entry->is_called = true;
  call_begins(w, CALL_READ, entry, session);
  enum outcome outcome = team->vendor->read(session->opened, &seat->device, pace, &seat->sample);
  if (pace != PACE_FAST) read_names(w, &seat->sample);
  call_ended(w);
  int64_t now_ns = monotonic_ns();
  bool was_hung = entry->is_hung;
  entry->is_called = entry->is_hung = false;
  if (team->session == session && !entry->is_gone) {
    if (outcome == OUTCOME_VENDOR_LOST) lose_session(team, seat->sample.problem, now_ns);
    // What took so long is no news: the fastest numbers are read anew at once, and nothing is shown before.
    else if (!was_hung || outcome != OUTCOME_OK || pace != PACE_FAST) entry_ended(team, entry, pace, outcome, now_ns);
    if (was_hung && outcome == OUTCOME_OK) entry->due_ns[PACE_FAST] = 0;
    if (pace != PACE_FAST && outcome == OUTCOME_OK) {
      size_t size = seat->sample.process_count * COMM_SIZE;
      if (memcmp(entry->names, w->names, size) != 0) roster_changed();
      memcpy(entry->names, w->names, size);
    }
  } else {
    entry_leave(team, entry);
    team->enumerate_due_ns = 0;
  }
  if (was_hung) pthread_cond_broadcast(&team->wake);
  session_release(team, session);
}

// Rounds.

static bool goes_on(const struct worker *w) { return !w->is_replaced && !atomic_load(&w->team->crew->stopping); }

// Hot: every tick. What is due within half a round is due now, so that the devices keep together.
static void read_due(struct worker *w, int64_t now_ns, bool is_round) {
  struct team *team = w->team;
  int64_t until_ns = now_ns + (is_round ? team->fast_ns / 2 : 0);
  for (size_t i = 0; i < team->count && goes_on(w) && team->session != NULL; i++) {
    struct entry *entry = team->entries[i];
    for (int pace = PACE_FAST; pace < PACE_COUNT && goes_on(w); pace++) {
      if (entry->seat == NULL || entry->is_called || entry->seat->session != team->session) break;
      if (entry->due_ns[pace] <= until_ns) read_entry(w, entry, (enum pace)pace);
    }
  }
}

static void work(struct worker *w) {
  struct team *team = w->team;
  int64_t round_due_ns = 0;
  while (goes_on(w)) {
    int64_t now_ns = monotonic_ns();
    if (team->session == NULL && team->call == CALL_NONE && now_ns >= team->open_due_ns) open_session(w);
    if (goes_on(w) && team->session != NULL && !team->is_enumerate_called && now_ns >= team->enumerate_due_ns)
      enumerate(w);
    if (!goes_on(w)) break;
    now_ns = monotonic_ns();
    bool is_round = now_ns >= round_due_ns;
    // Deadlines are absolute; those that a long round swallowed are skipped.
    if (is_round) {
      if (round_due_ns == 0) round_due_ns = now_ns;
      round_due_ns += ((now_ns - round_due_ns) / team->fast_ns + 1) * team->fast_ns;
      team->round_started_ns = now_ns;
    }
    read_due(w, now_ns, is_round);
    if (!goes_on(w)) break;
    if (is_round) team->round_ns = monotonic_ns() - now_ns;
    if (team->state != TEAM_OPENING) team->is_settled = true;
    int64_t wake_ns = team->session != NULL ? round_due_ns : team->open_due_ns;
    struct timespec deadline = timespec_of_ns(wake_ns);
    pthread_cond_timedwait(&team->wake, &team->lock, &deadline);
  }
}

static void *run_worker(void *argument) {
  struct worker *w = argument;
  struct team *team = w->team;
  char name[16];
  snprintf(name, sizeof name, "flopd-%s", team->vendor->name);
  prctl(PR_SET_NAME, name);
  pthread_mutex_lock(&team->lock);
  work(w);
  bool was_stuck = w->is_replaced;
  if (!was_stuck) team->worker = NULL;
  if (atomic_load(&team->crew->stopping) && team->worker == NULL) {
    for (size_t i = 0; i < team->count; i++)
      if (!team->entries[i]->is_called) entry_leave(team, team->entries[i]);
    struct session *session = team->session;
    team->session = NULL;
    if (session != NULL) session_release(team, session);
  }
  pthread_mutex_unlock(&team->lock);
  free(w);
  crew_thread_ends(team->crew, was_stuck);
  return NULL;
}

bool worker_start(struct team *team) {
  struct worker *w = calloc(1, sizeof *w);
  if (w == NULL) return false;
  w->team = team;
  struct worker *before = team->worker;
  team->worker = w;
  if (crew_thread(team->crew, run_worker, w)) return true;
  team->worker = before;
  free(w);
  return false;
}

// Hot: every tick of the reader, with the team's lock held.
void worker_watch(struct team *team, int64_t now_ns) {
  if (team->call == CALL_NONE || now_ns - team->call_ns <= CALL_LIMIT_NS) return;
  if (team->call == CALL_OPEN) {
    team_state(team, team->state, "the library takes long to open");
    return;
  }
  if (team->hung == MAX_HUNG || atomic_load(&team->crew->stopping)) return;
  struct worker *hung = team->worker;
  if (!worker_start(team)) return;
  hung->is_replaced = true;
  if (team->call_entry != NULL) team->call_entry->is_hung = true;
  team->hung++;
  team->call = CALL_NONE;
  pthread_mutex_lock(&team->crew->lock);
  team->crew->stuck++;
  pthread_mutex_unlock(&team->crew->lock);
  roster_changed();
}
