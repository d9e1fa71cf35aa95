// The crew as a whole: its teams, its threads and its end.
//
// Threads are detached and counted, and each holds the crew. `crew_join` waits for those that do not hang; what a hung
// one needs stays until its call comes back, on purpose.
#include "crew.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../clock.h"
#include "listen.h"
#include "worker.h"

static const int64_t JOIN_WAIT_NS = 1000000000;  // longer than a call may take before it counts as hung
enum { STACK_SIZE = 1 << 20 };                   // of address space; vendors' libraries keep buffers there

// Threads.

bool crew_thread(struct crew *crew, void *(*run)(void *), void *argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  sigset_t all, before;
  crew_hold(crew);
  pthread_mutex_lock(&crew->lock);
  crew->threads++;
  pthread_mutex_unlock(&crew->lock);
  sigfillset(&all);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK_SIZE);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, &attributes, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (error != 0) crew_thread_ends(crew, false);
  return error == 0;
}

void crew_thread_ends(struct crew *crew, bool was_stuck) {
  pthread_mutex_lock(&crew->lock);
  crew->threads--;
  if (was_stuck) crew->stuck--;
  pthread_cond_broadcast(&crew->ended);
  pthread_mutex_unlock(&crew->lock);
  crew_release(crew);
}

// The border.

bool crew_knows(const char *vendor) {
  for (size_t i = 0; vendors[i] != NULL; i++)
    if (strcmp(vendors[i]->name, vendor) == 0) return true;
  return false;
}

static void init_lock(pthread_mutex_t *lock, pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(lock, NULL);
}

static void add_team(struct crew *crew, const struct vendor *vendor) {
  for (size_t i = 0; i < crew->team_count; i++)
    if (crew->teams[i]->vendor == vendor) return;
  struct team *team = crew->team_count < MAX_TEAMS ? calloc(1, sizeof *team) : NULL;
  if (team == NULL) return;
  team->crew = crew;
  team->vendor = vendor;
  team->fast_ns = vendor->fast_ns > crew->period_ns ? vendor->fast_ns : crew->period_ns;
  team->backoff_ns = BACKOFF_MIN_NS;
  init_lock(&team->lock, &team->wake);
  crew->teams[crew->team_count++] = team;
}

struct crew *crew_start(const struct crew_options *options) {
  struct crew *crew = calloc(1, sizeof *crew);
  if (crew == NULL) return NULL;
  atomic_init(&crew->references, 1);
  atomic_init(&crew->stopping, false);
  init_lock(&crew->lock, &crew->ended);
  event_store_init(&crew->events, options->wake);
  crew->period_ns = options->period_ns;
  crew->started_ns = monotonic_ns();
  crew->proc = open(options->proc_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (size_t i = 0; options->vendors != NULL && options->vendors[i] != NULL; i++)
    for (size_t v = 0; vendors[v] != NULL; v++)
      if (strcmp(vendors[v]->name, options->vendors[i]) == 0) add_team(crew, vendors[v]);
  roster_changed();
  for (size_t i = 0; i < crew->team_count; i++) {
    struct team *team = crew->teams[i];
    pthread_mutex_lock(&team->lock);
    if (!worker_start(team)) team_state(team, TEAM_FAILED, "no thread could be started for it");
    team->is_settled = team->state == TEAM_FAILED;
    pthread_mutex_unlock(&team->lock);
  }
  if (options->kernel_log != NULL) listen_kernel(crew, options->kernel_log);
  return crew;
}

void crew_stop(struct crew *crew) {
  atomic_store(&crew->stopping, true);
  for (size_t i = 0; i < crew->team_count; i++) {
    pthread_mutex_lock(&crew->teams[i]->lock);
    pthread_cond_broadcast(&crew->teams[i]->wake);
    pthread_mutex_unlock(&crew->teams[i]->lock);
  }
  pthread_mutex_lock(&crew->lock);
  if (crew->kernel_log != NULL) kernel_log_stop(crew->kernel_log);
  pthread_mutex_unlock(&crew->lock);
}

static void close_proc(struct crew *crew) {
  if (crew->proc >= 0) close(crew->proc);
  crew->proc = -1;
}

void crew_join(struct crew *crew) {
  struct timespec deadline = timespec_of_ns(monotonic_ns() + JOIN_WAIT_NS);
  pthread_mutex_lock(&crew->lock);
  for (int waited = 0; crew->threads > crew->stuck && waited == 0;)
    waited = pthread_cond_timedwait(&crew->ended, &crew->lock, &deadline);
  // Nobody reads names of processes any more: whoever lets go of the crew last may come a little later.
  if (crew->threads == 0) close_proc(crew);
  pthread_mutex_unlock(&crew->lock);
}

void crew_hold(struct crew *crew) { atomic_fetch_add(&crew->references, 1); }

void crew_release(struct crew *crew) {
  if (atomic_fetch_sub(&crew->references, 1) > 1) return;
  for (size_t i = 0; i < crew->team_count; i++) {
    struct team *team = crew->teams[i];
    for (size_t e = 0; e < team->count; e++) free(team->entries[e]);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->lock);
    free(team);
  }
  close_proc(crew);
  pthread_mutex_destroy(&crew->events.lock);
  pthread_cond_destroy(&crew->ended);
  pthread_mutex_destroy(&crew->lock);
  free(crew);
}
