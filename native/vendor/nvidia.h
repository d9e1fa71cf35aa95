// Inside the vendor nvidia: what its files share.
//
//   nvidia.c         opens and closes the library, says what its codes mean
//   nvidia-list.c    devices and partitions: who is there
//   nvidia-read.c    the numbers, by pace
//   nvidia-slow.c    processes, links, signals of health
//   nvidia-gpm.c     pipe counters
//   nvidia-events.c  events, on a thread of their own
//
// Threads: `read`s of different devices may go on side by side, and beside an enumeration, when one of them hangs. So a
// session has a part that never changes after `open`, parts that belong to one thread, and the places, with a lock.
#ifndef FLOPD_NVIDIA_H
#define FLOPD_NVIDIA_H

#include <pthread.h>

#include "../abi/nvml.h"
#include "vendor.h"

// A device as it was listed before: it keeps its identity while it cannot be asked.
struct nvidia_known {
  nvml_device handle;
  bool has_gpm;
  struct device device;  // without `extra`
};

// Who sits where, for the other ends of links.
struct nvidia_place {
  char bus_id[64], id[96];
};

struct nvidia_listened {
  nvml_device handle;  // NULL: not registered
  bool is_refused;     // registering it spoils the set
  char id[96], bus_id[64];
};

struct nvidia_events {
  nvml_set set;  // NULL: none at present
  int64_t due_ns;
  struct nvidia_listened *devices;
  unsigned count;
};

struct nvidia_session {
  void *library;
  struct nvml nvml;
  // Of `enumerate`.
  struct nvidia_known *known;  // by index
  size_t known_count;
  // Of `wait`.
  struct nvidia_events events;
  // Under the lock, which nobody holds during a call of the library.
  pthread_mutex_t lock;
  struct nvidia_place *places;
  size_t place_count;
};

enum { NVIDIA_PIPES = 12, NVIDIA_ASKED = NVIDIA_PIPES + 2 };

struct nvidia_gpm {
  bool is_ready;      // both samples are there
  bool was_asked;     // which ids the library knows has been found out
  bool has_pcie;      // PCIe rates come from here
  uint8_t dropped[NVIDIA_ASKED];  // reasons, 0 for those that are asked for
  nvml_gpm samples[2];
  int newest;
  int64_t taken_ns;   // of the newest, 0: none
  int64_t due_ns;
};

// The vendor's memory of a device: of its reads alone.
struct nvidia_extra {
  const struct nvml *nvml;
  nvml_device parent;  // of a partition
  uint32_t gpu_instance;
  bool is_begun, is_found, has_wide_processes;
  struct nvidia_gpm gpm;
};

// One read: what it is about, and the first code that says that going on is of no use.
struct nvidia_read {
  struct nvidia_session *session;
  const struct nvml *nvml;
  struct device *device;
  struct nvidia_extra *extra;
  struct sample *sample;
  int fatal;
  const char *where;
};

// Codes.
enum reason nvidia_reason(int code);
enum outcome nvidia_outcome(int code);
// Writes what the code means, and where it came from.
void nvidia_problem(char *problem, size_t size, const char *where, int code);

// Remembers a code that ends the read. True when it goes on.
bool nvidia_note(struct nvidia_read *r, const char *where, int code);

// Sets a number from what a call gave, in the unit of the call: `scale` brings it to ours. The library's markers of
// absence, and values above `most` (in the library's unit), are absent.
void nvidia_set_u32(struct nvidia_read *r, enum number number, const char *where, int code, uint32_t value,
                    double scale, uint32_t most);
void nvidia_set_u64(struct nvidia_read *r, enum number number, const char *where, int code, uint64_t value,
                    double scale);
void nvidia_set_field(struct nvidia_read *r, enum number number, const struct nvml_field *field, double scale,
                      double most);

// A field to ask for; until the library answers it is absent.
struct nvml_field nvidia_field(uint32_t id, uint32_t scope);
// What a field holds, or NaN and why.
double nvidia_field_value(const struct nvml_field *field, enum reason *reason);

// Text that the library gave, in printable ASCII; false when it gave none.
bool nvidia_text(char *to, size_t size, int code, const char *from, size_t from_size);
// The spelling 00000000:65:00.0 of where a device sits; false when nobody knows.
bool nvidia_bus_id(char *to, size_t size, int code, const struct nvml_pci *pci);
// The id of a device: its UUID, else where it sits, else its number. Fills the bus id too. The code of the UUID.
int nvidia_identify(const struct nvml *nvml, nvml_device handle, unsigned index, char *id, size_t id_size, char *bus_id,
                    size_t bus_size);
// Id of the device at a bus id, "" when it is none of ours.
void nvidia_peer(struct nvidia_session *session, const char *bus_id, char *id, size_t size);

enum outcome nvidia_enumerate(void *session, struct device *devices, size_t capacity, size_t *count,
                              struct vendor_report *report);
enum outcome nvidia_read(void *session, struct device *device, enum pace pace, struct sample *sample);
void nvidia_release(struct device *device);
int nvidia_wait(void *session, int timeout_ms, struct vendor_event *event);
void nvidia_events_close(struct nvidia_session *session);

void nvidia_read_slow(struct nvidia_read *r);

// Pipes: `prepare` may allocate, `read` is hot.
void nvidia_gpm_prepare(struct nvidia_read *r);
void nvidia_gpm_read(struct nvidia_read *r);
void nvidia_gpm_release(struct nvidia_extra *extra);

#endif
