// The contract of an accelerator vendor: what one file (nvidia.c, ascend.c) gives, and what the crew that calls it
// (crew.c) promises. The vendor's library is opened at run time; a symbol that is missing makes numbers absent, never
// an error.
//
// Threads. Each vendor has one worker thread (plus one event thread where the vendor has `wait`). All functions but
// `wait` are called on the worker, one at a time for one device. A call that does not come back within CALL_LIMIT_NS
// counts as hung: the crew leaves that thread to it, marks the device late, and goes on with a new worker that leaves
// the device alone until the old one comes back (which then ends). So: at most one waiting call per device, and
//   - `read` may touch the session (read-only after `open`), its device and its sample, and nothing else;
//   - a session with a call in flight is never closed; it is left as it is and a new one is made beside it. `close`
//     comes from the thread that lets go of the session last, which may be the event thread or one that had hung.
// What a hung `enumerate` brings counts when it comes back; what a hung `read` brought of the slower paces as well.
//
// Memory. Structs that the library fills are zeroed and larger than any header says (see the abi headers): libraries
// write by their own idea of a size. Every string that comes out is cut and ends with NUL.
//
// Numbers are in the units of src/protocol/columns.ts when they leave the vendor's file. Absent is a reason, not zero.
#ifndef FLOPD_VENDOR_H
#define FLOPD_VENDOR_H

#include "../row.h"

#ifdef __cplusplus
extern "C" {
#endif

// Every number of a device: id, family, label ("" where the family has none), always (announced for every device) or
// where found (announced for a device whose `has` says so).
#define NUMBERS(X)                                                                  \
  X(BUSY, ACCELERATOR_BUSY_RATIO, "", ALWAYS)                                       \
  X(MEMORY_BUSY, ACCELERATOR_MEMORY_BUSY_RATIO, "", ALWAYS)                         \
  X(MEMORY_TOTAL, ACCELERATOR_MEMORY_TOTAL_BYTES, "", ALWAYS)                       \
  X(MEMORY_USED, ACCELERATOR_MEMORY_USED_BYTES, "", ALWAYS)                         \
  X(POWER, ACCELERATOR_POWER_WATTS, "", ALWAYS)                                     \
  X(POWER_LIMIT, ACCELERATOR_POWER_LIMIT_WATTS, "", ALWAYS)                         \
  X(ENERGY, ACCELERATOR_ENERGY_COUNTER_JOULES, "", ALWAYS)                          \
  X(TEMPERATURE, ACCELERATOR_TEMPERATURE_CELSIUS, "", ALWAYS)                       \
  X(MEMORY_TEMPERATURE, ACCELERATOR_MEMORY_TEMPERATURE_CELSIUS, "", ALWAYS)         \
  X(CLOCK, ACCELERATOR_CLOCK_HERTZ, "", ALWAYS)                                     \
  X(MEMORY_CLOCK, ACCELERATOR_MEMORY_CLOCK_HERTZ, "", ALWAYS)                       \
  X(ECC_CORRECTED, ACCELERATOR_ECC_CORRECTED_TOTAL, "", ALWAYS)                     \
  X(ECC_UNCORRECTED, ACCELERATOR_ECC_UNCORRECTED_TOTAL, "", ALWAYS)                 \
  X(FAN, ACCELERATOR_FAN_RATIO, "", FOUND)                                          \
  X(PCIE_REPLAYS, ACCELERATOR_PCIE_REPLAYS_TOTAL, "", FOUND)                        \
  X(PCIE_RECEIVE, ACCELERATOR_PCIE_RECEIVE_RATE, "", FOUND)                         \
  X(PCIE_TRANSMIT, ACCELERATOR_PCIE_TRANSMIT_RATE, "", FOUND)                       \
  X(LINK_RECEIVE, ACCELERATOR_LINK_RECEIVE_BYTES_TOTAL, "", FOUND)                  \
  X(LINK_TRANSMIT, ACCELERATOR_LINK_TRANSMIT_BYTES_TOTAL, "", FOUND)                \
  X(ENGINE_ENCODER, ACCELERATOR_ENGINE_BUSY_RATIO, "encoder", FOUND)                \
  X(ENGINE_DECODER, ACCELERATOR_ENGINE_BUSY_RATIO, "decoder", FOUND)                \
  X(ENGINE_AICPU, ACCELERATOR_ENGINE_BUSY_RATIO, "aicpu", FOUND)                    \
  X(ENGINE_CONTROL_CPU, ACCELERATOR_ENGINE_BUSY_RATIO, "controlCpu", FOUND)         \
  X(ENGINE_VECTOR, ACCELERATOR_ENGINE_BUSY_RATIO, "vector", FOUND)                  \
  X(ENGINE_CUBE, ACCELERATOR_ENGINE_BUSY_RATIO, "cube", FOUND)                      \
  X(ENGINE_OVERALL, ACCELERATOR_ENGINE_BUSY_RATIO, "overall", FOUND)                \
  X(PIPE_GRAPHICS, ACCELERATOR_PIPE_ACTIVE_RATIO, "graphics", FOUND)                \
  X(PIPE_SM, ACCELERATOR_PIPE_ACTIVE_RATIO, "sm", FOUND)                            \
  X(PIPE_OCCUPANCY, ACCELERATOR_PIPE_ACTIVE_RATIO, "occupancy", FOUND)              \
  X(PIPE_TENSOR, ACCELERATOR_PIPE_ACTIVE_RATIO, "tensor", FOUND)                    \
  X(PIPE_DFMA, ACCELERATOR_PIPE_ACTIVE_RATIO, "tensorDfma", FOUND)                  \
  X(PIPE_HMMA, ACCELERATOR_PIPE_ACTIVE_RATIO, "tensorHmma", FOUND)                  \
  X(PIPE_DMMA, ACCELERATOR_PIPE_ACTIVE_RATIO, "tensorDmma", FOUND)                  \
  X(PIPE_IMMA, ACCELERATOR_PIPE_ACTIVE_RATIO, "tensorImma", FOUND)                  \
  X(PIPE_FP64, ACCELERATOR_PIPE_ACTIVE_RATIO, "fp64", FOUND)                        \
  X(PIPE_FP32, ACCELERATOR_PIPE_ACTIVE_RATIO, "fp32", FOUND)                        \
  X(PIPE_FP16, ACCELERATOR_PIPE_ACTIVE_RATIO, "fp16", FOUND)                        \
  X(PIPE_MEMORY, ACCELERATOR_PIPE_ACTIVE_RATIO, "memory", FOUND)                    \
  X(THROTTLE_POWER_CAP, ACCELERATOR_THROTTLED_RATIO, "powerCap", FOUND)             \
  X(THROTTLE_HW_SLOWDOWN, ACCELERATOR_THROTTLED_RATIO, "hwSlowdown", FOUND)         \
  X(THROTTLE_SW_THERMAL, ACCELERATOR_THROTTLED_RATIO, "swThermal", FOUND)           \
  X(THROTTLE_HW_THERMAL, ACCELERATOR_THROTTLED_RATIO, "hwThermal", FOUND)           \
  X(THROTTLE_POWER_BRAKE, ACCELERATOR_THROTTLED_RATIO, "powerBrake", FOUND)         \
  X(THROTTLE_SYNC_BOOST, ACCELERATOR_THROTTLED_RATIO, "syncBoost", FOUND)

enum number {
#define X(id, family, label, when) NUMBER_##id,
  NUMBERS(X)
#undef X
      NUMBER_COUNT
};

// Raw signals of a device's health; src/device/<vendor>.ts judges them. Absent is NaN.
#define SIGNALS(X)                                  \
  X(ROW_REMAP_PENDING, "rowRemapPending")           \
  X(ROW_REMAP_FAILED, "rowRemapFailed")             \
  X(PAGES_PENDING, "pagesPending")                  \
  X(ECC_UNCORRECTED_VOLATILE, "eccUncorrectedVolatile") \
  X(RECOVERY_ACTION, "recoveryAction")              \
  X(THROTTLE_REASONS, "throttleReasons")            \
  X(FABRIC_STATE, "fabricState")                    \
  X(FABRIC_STATUS, "fabricStatus")                  \
  X(LINKS_DOWN, "linksDown")                        \
  X(LINK_GENERATION, "pcieGeneration")              \
  X(LINK_WIDTH, "pcieWidth")                        \
  X(LINK_WIDTH_MAX, "pcieWidthMax")                 \
  X(RESET_REQUIRED, "resetRequired")                \
  X(HEALTH_LEVEL, "healthLevel")                    \
  X(NETWORK_HEALTH, "networkHealth")                \
  X(CLOCK_REDUCTION, "clockReduction")              \
  X(MIG_MODE, "migMode")                            \
  X(VIRTUALIZATION, "virtualization")

enum signal_name {
#define X(id, name) SIGNAL_##id,
  SIGNALS(X)
#undef X
      SIGNAL_COUNT
};

enum {
  MAX_DEVICES = 1024,      // of one vendor, partitions included
  MAX_PROCESSES = 256,     // kept of one device
  MAX_LINKS = 128,
  MAX_CODES = 32,
  TEXT_SIZE = 128,
  PROBLEM_SIZE = 256,
};

// How often a group of numbers is read. FAST: every tick of the reader, but not below the vendor's `fast_ns`;
// SECOND: once a second; SLOW: every ten seconds, and at once after an event. A device whose latest read of any pace was
// not OK is absent, and is asked for that pace again once a second. Lists (processes, links) are shown after SECOND and
// SLOW reads, and the names of the processes are looked up then.
enum pace { PACE_FAST, PACE_SECOND, PACE_SLOW, PACE_COUNT };

// How reading a device, or the whole vendor, went.
enum outcome {
  OUTCOME_OK,
  OUTCOME_DEVICE_LOST,   // fell off the bus, needs a reset: all its numbers are LOST until a read works again
  OUTCOME_DENIED,        // nothing may be read: all DENIED
  OUTCOME_FAILED,        // all ERROR, with a problem
  OUTCOME_VENDOR_LOST,   // the driver is gone or was replaced: close the session, open a new one, try until it works
};

struct process {
  uint32_t pid;
  double memory_bytes;  // NaN: not told
};

struct link {
  char kind[32];
  char peer[TEXT_SIZE];  // id of the device at the other end, "" when it is none of ours
  uint32_t count;
  int up;  // 1, 0, -1 unknown
};

// Identity and facts, filled by `enumerate`.
struct device {
  char id[96];
  char parent[96];  // id of the device that this partition is cut from, "" for a device
  char name[TEXT_SIZE], bus_id[64], serial[TEXT_SIZE], firmware[64], profile[64], compute_capability[16];
  int index;
  int numa_node;             // -1 unknown
  int node_number;           // N in /dev, -1 unknown
  double lanes, units, max_clock_hertz;  // NaN unknown
  bool has_pipes;
  // Bit n: number n is found on this device (may be changed by `read`, once: the columns are announced anew).
  uint64_t has;
  void *handle;              // the vendor's
  void *extra;               // the vendor's memory for this device, freed by `release`
};

// What `read` fills. Kept between reads: a read of one pace leaves the others' numbers as they are.
struct sample {
  double values[NUMBER_COUNT];
  uint8_t reasons[NUMBER_COUNT];
  double signals[SIGNAL_COUNT];
  uint32_t codes[MAX_CODES];
  size_t code_count;
  struct process processes[MAX_PROCESSES];
  size_t process_count;
  uint8_t processes_reason;  // PRESENT, or why there is no list
  struct link links[MAX_LINKS];
  size_t link_count;
  char problem[PROBLEM_SIZE];  // for an outcome that is not OK
};

struct vendor_report {
  char library[256];         // what was opened
  char driver_version[64];
  char problem[PROBLEM_SIZE];
};

struct vendor_event {
  char id[96];               // device id, or "" with a bus id
  char bus_id[64];
  enum { EVENT_XID, EVENT_ECC, EVENT_FAULT, EVENT_LOST, EVENT_RETURNED } kind;
  uint32_t code;
  uint32_t count;
  char detail[TEXT_SIZE];
};

struct vendor {
  const char *name;
  int64_t fast_ns;  // least time between two FAST reads
  // Opens and initialises the library. NULL: `*missing` true when there is no such library here, else
  // `report->problem` says what it lacks. May take as long as it likes: nothing waits for it.
  void *(*open)(struct vendor_report *report, bool *missing);
  // Lists devices and partitions, parents before their partitions, at the start and every ten seconds. Fills at most
  // `capacity`; sets `*count`. Devices that were there before are known by id; the crew releases the new `extra` of those.
  enum outcome (*enumerate)(void *session, struct device *devices, size_t capacity, size_t *count,
                            struct vendor_report *report);
  // Hot for PACE_FAST: no allocation.
  enum outcome (*read)(void *session, struct device *device, enum pace pace, struct sample *sample);
  // Waits up to `timeout_ms` for an event; 1 when one came, 0 when none, -1 when there are no events here.
  // Called on the event thread. NULL: the vendor has no events.
  int (*wait)(void *session, int timeout_ms, struct vendor_event *event);
  void (*release)(struct device *device);
  // `unload`: no call is in flight, the library may be closed as well.
  void (*close)(void *session, bool unload);
};

// All vendors; ends with NULL.
extern const struct vendor *const vendors[];

static inline void sample_set(struct sample *sample, enum number number, double value) {
  sample->values[number] = value;
  sample->reasons[number] = PRESENT;
}

static inline void sample_absent(struct sample *sample, enum number number, enum reason reason) {
  sample->values[number] = NAN;
  sample->reasons[number] = (uint8_t)reason;
}

#ifdef __cplusplus
}
#endif

#endif
