#include "listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "../clock.h"
#include "worker.h"

enum { WAIT_MS = 200, MAX_LISTENERS = 2 };  // closing waits for it
static const int64_t REST_NS = 20000000;    // after a wait that came back early with nothing

struct listener {
  struct team *team;
  struct session *session;
};

// What an event means.

static bool is_meant(const struct entry *entry, const struct vendor_event *event, bool has_place, uint64_t place) {
  uint64_t own;
  if (event->id[0] != '\0') return strcmp(entry->facts.id, event->id) == 0;
  // Partitions sit where their device sits: the kernel means the device.
  return has_place && entry->facts.parent[0] == '\0' && place_of_address(entry->facts.bus_id, &own) && own == place;
}

static struct entry *find_meant(const struct team *team, const struct vendor_event *event) {
  uint64_t place = 0;
  bool has_place = place_of_address(event->bus_id, &place);
  struct entry *meant = NULL;
  // One that is gone may have sat where another sits now.
  for (size_t i = 0; i < team->count; i++)
    if (is_meant(team->entries[i], event, has_place, place) && (meant == NULL || meant->is_gone)) meant = team->entries[i];
  return meant;
}

// The slow numbers tell what the event did: they are read at once, but not for every event of a flood.
static void hasten(struct team *team, struct entry *entry, int64_t now_ns) {
  int64_t due_ns = entry->ended_ns[PACE_SLOW] + SECOND_NS;
  if (due_ns < now_ns) due_ns = now_ns;
  if (entry->due_ns[PACE_SLOW] <= due_ns) return;
  entry->due_ns[PACE_SLOW] = due_ns;
  pthread_cond_broadcast(&team->wake);
}

// Hot: whatever a flood brings.
void roster_event(struct crew *crew, struct team *team, enum event_source source, const struct vendor_event *event) {
  struct happening happening = {.number = NO_NUMBER, .kind = event->kind, .code = event->code};
  int64_t now_ns = monotonic_ns();
  memcpy(happening.bus_id, event->bus_id, sizeof happening.bus_id);
  memcpy(happening.detail, event->detail, sizeof happening.detail);
  for (size_t i = 0; i < crew->team_count && happening.number == NO_NUMBER; i++) {
    if (team != NULL && crew->teams[i] != team) continue;
    pthread_mutex_lock(&crew->teams[i]->lock);
    struct entry *entry = find_meant(crew->teams[i], event);
    if (entry != NULL) {
      happening.number = entry->number;
      if (entry->facts.bus_id[0] != '\0') memcpy(happening.bus_id, entry->facts.bus_id, sizeof happening.bus_id);
      hasten(crew->teams[i], entry, now_ns);
    }
    pthread_mutex_unlock(&crew->teams[i]->lock);
  }
  happening.bus_id[sizeof happening.bus_id - 1] = happening.detail[sizeof happening.detail - 1] = '\0';
  happening.count = event->count > 0 ? event->count : 1;
  if (event->kind == EVENT_XID) {
    uint64_t place;
    if (!place_of_address(happening.bus_id, &place)) place = place_of_id(event->id);
    happening.count = event_store_news(&crew->events, source, place, event->code, happening.count, now_ns);
  }
  if (happening.count > 0) event_store_add(&crew->events, &happening);
}

// Listeners.

static bool goes_on(const struct listener *l) {
  return l->team->session == l->session && !atomic_load(&l->team->crew->stopping);
}

static void *run_listener(void *argument) {
  struct listener *l = argument;
  struct team *team = l->team;
  char name[16];
  snprintf(name, sizeof name, "flopd-%.7s-e", team->vendor->name);
  prctl(PR_SET_NAME, name);
  pthread_mutex_lock(&team->lock);
  for (int got = 0; got >= 0 && goes_on(l);) {
    struct vendor_event event;
    memset(&event, 0, sizeof event);
    int64_t start_ns = monotonic_ns();
    pthread_mutex_unlock(&team->lock);
    got = team->vendor->wait(l->session->opened, WAIT_MS, &event);
    event.id[sizeof event.id - 1] = event.bus_id[sizeof event.bus_id - 1] = '\0';
    if (got > 0) roster_event(team->crew, team, SOURCE_LIBRARY, &event);
    pthread_mutex_lock(&team->lock);
    int64_t now_ns = monotonic_ns();
    if (got != 0 || now_ns - start_ns > REST_NS || !goes_on(l)) continue;
    // It may be broken: a library that does not wait must not make us spin.
    struct timespec rest = timespec_of_ns(now_ns + REST_NS);
    pthread_cond_timedwait(&team->wake, &team->lock, &rest);
  }
  team->listeners--;
  session_release(team, l->session);
  pthread_mutex_unlock(&team->lock);
  free(l);
  crew_thread_ends(team->crew, false);
  return NULL;
}

void listen_start(struct team *team) {
  if (team->vendor->wait == NULL || team->listeners == MAX_LISTENERS) return;
  struct listener *l = malloc(sizeof *l);
  if (l == NULL) return;
  *l = (struct listener){team, team->session};
  team->listeners++;
  team->session->references++;
  if (crew_thread(team->crew, run_listener, l)) return;
  // The numbers are read all the same.
  team->listeners--;
  team->session->references--;
  free(l);
}

// The kernel.

static void kernel_found(void *context, const struct vendor_event *event) {
  roster_event(context, NULL, SOURCE_KERNEL, event);
}

static void *run_kernel_log(void *argument) {
  struct crew *crew = argument;
  prctl(PR_SET_NAME, "flopd-kernel");
  kernel_log_follow(crew->kernel_log, kernel_found, crew);
  pthread_mutex_lock(&crew->lock);
  kernel_log_close(crew->kernel_log);
  crew->kernel_log = NULL;
  pthread_mutex_unlock(&crew->lock);
  crew_thread_ends(crew, false);
  return NULL;
}

void listen_kernel(struct crew *crew, const char *path) {
  crew->kernel_log = kernel_log_open(path);
  if (crew->kernel_log == NULL || crew_thread(crew, run_kernel_log, crew)) return;
  kernel_log_close(crew->kernel_log);
  crew->kernel_log = NULL;
}
