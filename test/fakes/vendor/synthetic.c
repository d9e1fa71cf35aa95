// A vendor that follows a script: files in the folder $SYNTHETIC say what goes wrong now. It holds the crew to the
// contract (native/vendor/vendor.h) and aborts when that is broken: two calls on a device, a call on a closed session,
// a session closed under a call. Takes the place of the list in native/vendor/catalogue.c.
//
//   gone         the driver is unloaded            missing       there is no library
//   hang-open    open does not come back while it exists; likewise hang-enumerate, hang-N (reads of device N)
//   lost-N  denied-N  failed-N                     absent-N      is not listed
//   event        one event, `id bus kind code count`, removed when told
//   flood        10 000 events of device 0 a second
//
// $SYNTHETIC_DEVICES is their number, 3 without it.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "synthetic.h"
#include "vendor/vendor.h"

enum { MAGIC = 0x5e551011, PER_WAIT = 10 };

struct opened {
  unsigned magic;
  bool is_leisurely;  // not counted among the sessions
  atomic_int calls;
};

struct extra {
  int index;
  atomic_bool is_called;
  double reads;
};

atomic_int synthetic_sessions, synthetic_extras, synthetic_calls;
atomic_ulong synthetic_events, synthetic_reads;

static void broken(const char *what) {
  fprintf(stderr, "the contract is broken: %s\n", what);
  abort();
}

static bool is_on(const char *name, int index) {
  const char *folder = getenv("SYNTHETIC");
  char path[512];
  if (folder == NULL) return false;
  if (index < 0) snprintf(path, sizeof path, "%s/%s", folder, name);
  else snprintf(path, sizeof path, "%s/%s-%d", folder, name, index);
  return access(path, F_OK) == 0;
}

static void hang_while(const char *name, int index) {
  while (is_on(name, index)) usleep(2000);
}

static int device_count(void) {
  const char *count = getenv("SYNTHETIC_DEVICES");
  return count != NULL ? atoi(count) : 3;
}

static void begin(struct opened *opened) {
  if (opened->magic != MAGIC) broken("a call on a closed session");
  atomic_fetch_add(&opened->calls, 1);
  atomic_fetch_add(&synthetic_calls, 1);
}

static enum outcome end(struct opened *opened, enum outcome outcome) {
  if (opened->magic != MAGIC) broken("a session was closed under a call");
  atomic_fetch_sub(&opened->calls, 1);
  atomic_fetch_sub(&synthetic_calls, 1);
  return outcome;
}

static void *synthetic_open(struct vendor_report *report, bool *missing) {
  hang_while("hang-open", -1);
  *missing = is_on("missing", -1);
  snprintf(report->problem, sizeof report->problem, "the driver is not loaded");
  if (*missing || is_on("gone", -1)) return NULL;
  struct opened *opened = calloc(1, sizeof *opened);
  opened->magic = MAGIC;
  report->problem[0] = '\0';
  snprintf(report->library, sizeof report->library, "libsynthetic.so.1");
  snprintf(report->driver_version, sizeof report->driver_version, "1.2.3");
  atomic_fetch_add(&synthetic_sessions, 1);
  return opened;
}

static void *leisurely_open(struct vendor_report *report, bool *missing) {
  struct opened *opened = synthetic_open(report, missing);
  if (opened == NULL) return NULL;
  opened->is_leisurely = true;
  atomic_fetch_sub(&synthetic_sessions, 1);
  return opened;
}

static void describe(struct device *device, int index) {
  snprintf(device->id, sizeof device->id, "SYN-%d", index);
  // Bytes that are no text, up to the very end.
  if (index == 1) memset(device->name, 0xc3, sizeof device->name);
  else snprintf(device->name, sizeof device->name, "Synthetic \"%d\"\n\xe2\x82\xac", index);
  snprintf(device->bus_id, sizeof device->bus_id, "00000000:%02X:00.0", 0x10 + index % 200);
  // The last is a part of the first.
  if (index == 2) snprintf(device->parent, sizeof device->parent, "SYN-0");
  if (index == 2) snprintf(device->profile, sizeof device->profile, "half");
  device->index = index;
  device->numa_node = index == 0 ? 0 : -1;
  device->node_number = -1;
  device->lanes = 128;
  device->units = device->max_clock_hertz = NAN;
  device->has = UINT64_C(1) << NUMBER_THROTTLE_POWER_CAP;
  struct extra *extra = calloc(1, sizeof *extra);
  extra->index = index;
  device->extra = extra;
  atomic_fetch_add(&synthetic_extras, 1);
}

static enum outcome synthetic_enumerate(void *session, struct device *devices, size_t capacity, size_t *count,
                                        struct vendor_report *report) {
  begin(session);
  hang_while("hang-enumerate", -1);
  snprintf(report->problem, sizeof report->problem, "the driver went away");
  if (is_on("gone", -1)) return end(session, OUTCOME_VENDOR_LOST);
  report->problem[0] = '\0';
  *count = 0;
  for (int i = 0; i < device_count() && *count < capacity; i++)
    if (!is_on("absent", i)) describe(&devices[(*count)++], i);
  return end(session, OUTCOME_OK);
}

static void read_slow(struct device *device, struct extra *extra, struct sample *sample) {
  sample_set(sample, NUMBER_ECC_CORRECTED, 7);
  if (extra->index == 0) device->has |= UINT64_C(1) << NUMBER_FAN;
  sample_set(sample, NUMBER_FAN, 0.5);
  sample->signals[SIGNAL_LINKS_DOWN] = extra->index;
  sample->code_count = 1;
  sample->codes[0] = 0x80e01801;
  sample->processes_reason = extra->index == 1 ? DENIED : PRESENT;
  sample->process_count = 1;
  sample->processes[0] = (struct process){(uint32_t)getpid(), extra->index == 0 ? 4096 : NAN};
  sample->link_count = 1;
  sample->links[0] = (struct link){.kind = "wire", .count = 2, .up = extra->index == 0 ? 1 : -1};
  if (extra->index == 0) snprintf(sample->links[0].peer, sizeof sample->links[0].peer, "SYN-1");
}

static enum outcome read_now(struct device *device, struct extra *extra, enum pace pace, struct sample *sample) {
  hang_while("hang", extra->index);
  snprintf(sample->problem, sizeof sample->problem, "so says the script");
  if (is_on("gone", -1)) return OUTCOME_VENDOR_LOST;
  if (is_on("lost", extra->index)) return OUTCOME_DEVICE_LOST;
  if (is_on("denied", extra->index)) return OUTCOME_DENIED;
  if (is_on("failed", extra->index)) return OUTCOME_FAILED;
  sample->problem[0] = '\0';
  if (pace == PACE_SLOW) read_slow(device, extra, sample);
  if (pace == PACE_SECOND) sample_set(sample, NUMBER_TEMPERATURE, 40 + extra->index);
  if (pace != PACE_FAST) return OUTCOME_OK;
  sample_set(sample, NUMBER_BUSY, 0.1 * (extra->index % 10));
  sample_set(sample, NUMBER_ENERGY, extra->reads++);
  sample_set(sample, NUMBER_POWER, NAN);
  sample_absent(sample, NUMBER_MEMORY_BUSY, UNSUPPORTED);
  return OUTCOME_OK;
}

static enum outcome synthetic_read(void *session, struct device *device, enum pace pace, struct sample *sample) {
  struct extra *extra = device->extra;
  begin(session);
  if (atomic_exchange(&extra->is_called, true)) broken("two calls on one device");
  atomic_fetch_add(&synthetic_reads, 1);
  enum outcome outcome = read_now(device, extra, pace, sample);
  atomic_store(&extra->is_called, false);
  return end(session, outcome);
}

static bool take_event(struct vendor_event *event) {
  char path[512], kind[16] = "";
  const char *folder = getenv("SYNTHETIC");
  if (folder == NULL) return false;
  snprintf(path, sizeof path, "%s/event", folder);
  FILE *file = fopen(path, "r");
  if (file == NULL) return false;
  int fields = fscanf(file, "%95s %63s %15s %u %u", event->id, event->bus_id, kind, &event->code, &event->count);
  fclose(file);
  unlink(path);
  event->kind = strcmp(kind, "xid") == 0 ? EVENT_XID : strcmp(kind, "ecc") == 0 ? EVENT_ECC : EVENT_FAULT;
  if (strcmp(event->id, "-") == 0) event->id[0] = '\0';
  if (strcmp(event->bus_id, "-") == 0) event->bus_id[0] = '\0';
  snprintf(event->detail, sizeof event->detail, "told by the library");
  return fields == 5;
}

static int synthetic_wait(void *session, int timeout_ms, struct vendor_event *event) {
  static atomic_ulong told;
  begin(session);
  for (int waited_ms = 0;; waited_ms++) {
    // In bursts of ten per millisecond.
    if (is_on("flood", -1)) {
      if (atomic_fetch_add(&told, 1) % PER_WAIT == 0) usleep(1000);
      snprintf(event->id, sizeof event->id, "SYN-0");
      event->kind = EVENT_ECC;
      event->code = 1;
      event->count = 1;
      atomic_fetch_add(&synthetic_events, 1);
      return end(session, 0), 1;
    }
    if (take_event(event)) return end(session, 0), 1;
    if (waited_ms >= timeout_ms) return end(session, 0), 0;
    usleep(1000);
  }
}

static void synthetic_release(struct device *device) {
  struct extra *extra = device->extra;
  if (atomic_load(&extra->is_called)) broken("a device was released under a call");
  free(extra);
  device->extra = NULL;
  atomic_fetch_sub(&synthetic_extras, 1);
}

static void synthetic_close(void *session, bool unload) {
  struct opened *opened = session;
  if (opened->magic != MAGIC) broken("a session was closed twice");
  if (atomic_load(&opened->calls) > 0) broken("a session was closed under a call");
  if (unload && !opened->is_leisurely && atomic_load(&synthetic_sessions) > 1) broken("the library was unloaded under another session");
  if (!opened->is_leisurely) atomic_fetch_sub(&synthetic_sessions, 1);
  opened->magic = 0;
  free(opened);
}

static const struct vendor synthetic_vendor = {
    .name = "synthetic",
    .open = synthetic_open,
    .enumerate = synthetic_enumerate,
    .read = synthetic_read,
    .wait = synthetic_wait,
    .release = synthetic_release,
    .close = synthetic_close,
};

// Seldom, and without events.
static const struct vendor leisurely_vendor = {
    .name = "leisurely",
    .fast_ns = 400000000,
    .open = leisurely_open,
    .enumerate = synthetic_enumerate,
    .read = synthetic_read,
    .release = synthetic_release,
    .close = synthetic_close,
};

const struct vendor *const vendors[] = {&synthetic_vendor, &leisurely_vendor, NULL};
