// Fault events. The library may be subscribed to once per process, for as long as that lives, and calls back on a
// thread of its own, without a word about whom for. So there is one store for all sessions, from which the newest
// session's listener takes. Libraries without subscription are asked for the next event, waiting.
//
// The store joins what is alike: a storm costs one place and a count. It is bounded; beyond that the oldest goes.
#include <stdio.h>
#include <string.h>

#include "../clock.h"
#include "ascend.h"

enum { STORE_SIZE = 128 };

struct stored {
  uint16_t logic_id;
  uint32_t code, count;
  char detail[TEXT_SIZE];
};

static struct {
  pthread_mutex_t lock;
  pthread_cond_t came;
  const struct ascend_session *owner;  // who takes; compared, never followed
  // The function that was subscribed to: another one belongs to another library.
  int (*subscribed)(int32_t, int32_t, struct dcmi_filter, dcmi_handler *);
  size_t first, count;
  struct stored stored[STORE_SIZE];
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_store(void) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&store.came, &attributes);
  pthread_condattr_destroy(&attributes);
}

static bool parse(const struct dcmi_event *event, struct stored *stored) {
  // Recoveries are no faults: health and codes are read every second.
  if (event->type != DCMI_EVENT_FAULT || event->assertion == DCMI_RECOVERED) return false;
  char name[TEXT_SIZE - 16];
  *stored = (struct stored){event->logic_id, event->code, 1, ""};
  ascend_text(name, sizeof name, event->name, sizeof event->name);
  snprintf(stored->detail, sizeof stored->detail, "severity %u%s%s", event->severity, name[0] == '\0' ? "" : ": ", name);
  return true;
}

// Hot: whatever a storm brings. Called by the library, on its thread.
static void came(struct dcmi_event *event) {
  struct stored one;
  if (event == NULL || !parse(event, &one)) return;
  pthread_mutex_lock(&store.lock);
  struct stored *same = NULL;
  for (size_t i = 0; i < store.count && same == NULL; i++) {
    struct stored *each = &store.stored[(store.first + i) % STORE_SIZE];
    if (each->code == one.code && each->logic_id == one.logic_id) same = each;
  }
  if (same != NULL) {
    if (same->count < UINT32_MAX) same->count++;
  } else {
    if (store.count == STORE_SIZE) {
      store.first = (store.first + 1) % STORE_SIZE;
      store.count--;
    }
    store.stored[(store.first + store.count++) % STORE_SIZE] = one;
    pthread_cond_signal(&store.came);
  }
  pthread_mutex_unlock(&store.lock);
}

void ascend_events_open(struct ascend_session *session) {
  pthread_once(&once, init_store);
  pthread_mutex_lock(&store.lock);
  store.owner = session;
  bool is_new = session->dcmi.subscribe != NULL && store.subscribed != session->dcmi.subscribe;
  pthread_mutex_unlock(&store.lock);
  if (!is_new) return;
  struct dcmi_filter everything = {0};
  if (session->dcmi.subscribe(-1, -1, everything, came) != DCMI_OK) return;
  pthread_mutex_lock(&store.lock);
  store.subscribed = session->dcmi.subscribe;
  pthread_mutex_unlock(&store.lock);
}

static bool is_subscribed(const struct ascend_session *session) {
  return session->dcmi.subscribe != NULL && store.subscribed == session->dcmi.subscribe;
}

bool ascend_events_close(struct ascend_session *session) {
  pthread_mutex_lock(&store.lock);
  if (store.owner == session) store.owner = NULL;
  bool stays = is_subscribed(session);
  pthread_mutex_unlock(&store.lock);
  return stays;
}

// Whose event it is; "" when it is none of ours.
static void find_id(struct ascend_session *session, uint16_t logic_id, char *id, size_t size) {
  pthread_mutex_lock(&session->lock);
  for (size_t i = 0; i < session->place_count; i++)
    if (session->places[i].address.logic_id == logic_id) snprintf(id, size, "%s", session->places[i].id);
  pthread_mutex_unlock(&session->lock);
}

static void tell(struct ascend_session *session, const struct stored *stored, struct vendor_event *event) {
  memset(event, 0, sizeof *event);
  event->kind = EVENT_FAULT;
  event->code = stored->code;
  event->count = stored->count;
  memcpy(event->detail, stored->detail, sizeof event->detail);
  find_id(session, stored->logic_id, event->id, sizeof event->id);
}

static int wait_next(struct ascend_session *session, int timeout_ms, struct vendor_event *event) {
  struct {
    struct dcmi_event event;
    DCMI_SLACK;
  } room = {0};
  struct dcmi_filter everything = {0};
  struct stored one;
  int code = session->dcmi.next_event(-1, -1, timeout_ms, everything, &room.event);
  // Not ready and the like pass; the listener rests when this comes back early.
  if (code == DCMI_LACKING || code == DCMI_UNSUPPORTED || code == DCMI_NOT_PERMITTED || code == DCMI_INVALID_PARAMETER)
    return -1;
  if (code != DCMI_OK || !parse(&room.event, &one)) return 0;
  tell(session, &one, event);
  return 1;
}

int ascend_wait(void *opened, int timeout_ms, struct vendor_event *event) {
  struct ascend_session *session = opened;
  struct timespec deadline = timespec_of_ns(monotonic_ns() + (int64_t)timeout_ms * 1000000);
  struct stored one = {0};
  pthread_mutex_lock(&store.lock);
  if (!is_subscribed(session)) {
    pthread_mutex_unlock(&store.lock);
    return session->dcmi.next_event == NULL ? -1 : wait_next(session, timeout_ms, event);
  }
  int waited = 0;
  while (waited == 0 && (store.count == 0 || store.owner != session))
    waited = pthread_cond_timedwait(&store.came, &store.lock, &deadline);
  bool has = store.count > 0 && store.owner == session;
  if (has) {
    one = store.stored[store.first];
    store.first = (store.first + 1) % STORE_SIZE;
    store.count--;
  }
  pthread_mutex_unlock(&store.lock);
  if (!has) return 0;
  tell(session, &one, event);
  return 1;
}
