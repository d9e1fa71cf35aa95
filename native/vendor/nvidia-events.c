// Events: Xids and memory errors, waited for on a thread of their own, which alone touches what stands here. The
// library tells what happens after a device was registered; devices that came later, or could not be registered, are
// looked for every ten seconds.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../clock.h"
#include "nvidia.h"

static const int64_t LOOK_NS = 10000000000;
static const int64_t SHORT_NS = 1000000;  // a wait that comes back sooner, with nothing, did not wait
enum { MOST_LISTENED = 256, REST_MS = 20 };

static void rest(int ms) {
  struct timespec time = timespec_of_ns(ms * 1000000ll);
  nanosleep(&time, NULL);
}

static void drop_set(struct nvidia_session *s) {
  struct nvidia_events *events = &s->events;
  if (events->set != NULL) NVML(&s->nvml, set_free, events->set);
  events->set = NULL;
  events->due_ns = 0;
  for (unsigned i = 0; i < events->count; i++) events->devices[i].handle = NULL;
}

void nvidia_events_close(struct nvidia_session *s) { drop_set(s); }

static bool make_room(struct nvidia_events *events, unsigned count) {
  if (count <= events->count) return true;
  struct nvidia_listened *more = realloc(events->devices, count * sizeof *more);
  if (more == NULL) return false;
  memset(more + events->count, 0, (count - events->count) * sizeof *more);
  events->devices = more;
  events->count = count;
  return true;
}

// False when the set is spoilt: the library wants it to be freed.
static bool register_device(struct nvidia_session *s, unsigned index) {
  const struct nvml *nvml = &s->nvml;
  struct nvidia_listened *listened = &s->events.devices[index];
  uint64_t wanted = NVML_EVENT_XID | NVML_EVENT_ECC_SINGLE | NVML_EVENT_ECC_DOUBLE, supported = 0;
  nvml_device handle = NULL;
  if (listened->handle != NULL || listened->is_refused) return true;
  if (nvml->handle(index, &handle) != NVML_OK || handle == NULL) return true;
  if (NVML(nvml, event_types, handle, &supported) == NVML_OK) wanted &= supported;
  if (wanted == 0) return true;
  int code = nvidia_identify(nvml, handle, index, listened->id, sizeof listened->id, listened->bus_id,
                             sizeof listened->bus_id);
  // A device that cannot say who it is would be taken for another.
  if (code != NVML_OK && nvidia_reason(code) != UNSUPPORTED) return true;
  code = nvml->register_events(handle, wanted, s->events.set);
  if (code == NVML_OK) listened->handle = handle;
  listened->is_refused = code == NVML_UNKNOWN;
  return code != NVML_UNKNOWN;
}

// A code that says why there is no set.
static int listen_all(struct nvidia_session *s) {
  struct nvidia_events *events = &s->events;
  unsigned count = 0;
  int code = s->nvml.count(&count);
  if (code != NVML_OK) return code;
  if (count > MOST_LISTENED) count = MOST_LISTENED;
  if (!make_room(events, count)) return NVML_UNKNOWN;
  for (unsigned i = 0; i < count; i++) {
    if (events->set == NULL) {
      code = s->nvml.set_create(&events->set);
      if (code == NVML_OK && events->set == NULL) code = NVML_UNKNOWN;
      if (code != NVML_OK) return code;
    }
    if (register_device(s, i)) continue;
    // Begins anew without this one, which is remembered as refused: this ends.
    drop_set(s);
    i = UINT32_MAX;
  }
  events->due_ns = monotonic_ns() + LOOK_NS;
  return NVML_OK;
}

static bool translate(const struct nvidia_session *s, const struct nvml_event *from, struct vendor_event *to) {
  const struct nvidia_listened *listened = NULL;
  for (unsigned i = 0; i < s->events.count && listened == NULL; i++)
    if (s->events.devices[i].handle == from->device) listened = &s->events.devices[i];
  if (listened == NULL || from->device == NULL) return false;
  memset(to, 0, sizeof *to);
  memcpy(to->id, listened->id, sizeof to->id);
  memcpy(to->bus_id, listened->bus_id, sizeof to->bus_id);
  to->count = 1;
  if (from->type & NVML_EVENT_XID) {
    if (from->data == 0 || from->data > UINT16_MAX) return false;
    to->kind = EVENT_XID;
    to->code = (uint32_t)from->data;
    if (from->gpu_instance < 64) snprintf(to->detail, sizeof to->detail, "GPU instance %u", from->gpu_instance);
    return true;
  }
  // The code of a memory error is the library's bit for it: 1 was corrected, 2 was not.
  to->kind = EVENT_ECC;
  to->code = (uint32_t)(from->type & (NVML_EVENT_ECC_SINGLE | NVML_EVENT_ECC_DOUBLE));
  bool is_double = (to->code & NVML_EVENT_ECC_DOUBLE) != 0;
  snprintf(to->detail, sizeof to->detail, "%s-bit memory error", is_double ? "double" : "single");
  return to->code != 0;
}

int nvidia_wait(void *session, int timeout_ms, struct vendor_event *event) {
  struct nvidia_session *s = session;
  const struct nvml *nvml = &s->nvml;
  if (nvml->set_create == NULL || nvml->set_free == NULL || nvml->register_events == NULL || nvml->set_wait == NULL)
    return -1;
  int64_t start_ns = monotonic_ns();
  if (s->events.set == NULL || start_ns >= s->events.due_ns) {
    int code = listen_all(s);
    if (s->events.set == NULL && nvidia_reason(code) == UNSUPPORTED) return -1;
    if (s->events.set == NULL) {
      rest(timeout_ms);
      return 0;
    }
  }
  ROOM(struct nvml_event) got;
  nvml_room(&got);
  start_ns = monotonic_ns();
  int code = nvml->set_wait(s->events.set, &got.it, (unsigned)timeout_ms);
  if (code == NVML_OK && translate(s, &got.it, event)) return 1;
  // After an error the set is made anew: one device that was lost spoils it for all.
  if (code != NVML_OK && code != NVML_TIMEOUT) {
    drop_set(s);
    rest(timeout_ms);
  } else if (monotonic_ns() - start_ns < SHORT_NS) {
    rest(timeout_ms < REST_MS ? timeout_ms : REST_MS);
  }
  return 0;
}
