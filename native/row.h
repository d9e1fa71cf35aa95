// One row: the columns of a generation with the values of the latest tick. Parts of the host add their columns when
// a generation is made and fill them in every tick. Families, kinds and reasons are those of src/protocol/columns.ts;
// a test holds the two lists together.
#ifndef FLOPD_ROW_H
#define FLOPD_ROW_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kind { GAUGE, COUNTER };

#define FAMILIES(X)                                                     \
  X(CPU_BUSY_RATIO, "cpu.busyRatio", GAUGE)                             \
  X(CPU_CORE_BUSY_RATIO, "cpu.coreBusyRatio", GAUGE)                    \
  X(CPU_SECONDS_TOTAL, "cpu.secondsTotal", COUNTER)                     \
  X(CPU_LOAD1, "cpu.load1", GAUGE)                                      \
  X(CPU_LOAD5, "cpu.load5", GAUGE)                                      \
  X(CPU_LOAD15, "cpu.load15", GAUGE)                                    \
  X(CPU_RUNNABLE_TASKS, "cpu.runnableTasks", GAUGE)                     \
  X(CPU_BLOCKED_TASKS, "cpu.blockedTasks", GAUGE)                       \
  X(CPU_CONTEXT_SWITCHES_TOTAL, "cpu.contextSwitchesTotal", COUNTER)    \
  X(CPU_CLOCK_HERTZ, "cpu.clockHertz", GAUGE)                           \
  X(MEMORY_TOTAL_BYTES, "memory.totalBytes", GAUGE)                     \
  X(MEMORY_USED_BYTES, "memory.usedBytes", GAUGE)                       \
  X(MEMORY_AVAILABLE_BYTES, "memory.availableBytes", GAUGE)             \
  X(MEMORY_FREE_BYTES, "memory.freeBytes", GAUGE)                       \
  X(MEMORY_CACHED_BYTES, "memory.cachedBytes", GAUGE)                   \
  X(MEMORY_BUFFERS_BYTES, "memory.buffersBytes", GAUGE)                 \
  X(MEMORY_SWAP_TOTAL_BYTES, "memory.swapTotalBytes", GAUGE)            \
  X(MEMORY_SWAP_FREE_BYTES, "memory.swapFreeBytes", GAUGE)              \
  X(PRESSURE_WAITING_SECONDS_TOTAL, "pressure.waitingSecondsTotal", COUNTER) \
  X(PRESSURE_STALLED_SECONDS_TOTAL, "pressure.stalledSecondsTotal", COUNTER) \
  X(DISK_READ_BYTES_TOTAL, "disk.readBytesTotal", COUNTER)              \
  X(DISK_WRITTEN_BYTES_TOTAL, "disk.writtenBytesTotal", COUNTER)        \
  X(DISK_READS_TOTAL, "disk.readsTotal", COUNTER)                       \
  X(DISK_WRITES_TOTAL, "disk.writesTotal", COUNTER)                     \
  X(DISK_BUSY_SECONDS_TOTAL, "disk.busySecondsTotal", COUNTER)          \
  X(NETWORK_RECEIVE_BYTES_TOTAL, "network.receiveBytesTotal", COUNTER)  \
  X(NETWORK_TRANSMIT_BYTES_TOTAL, "network.transmitBytesTotal", COUNTER) \
  X(NETWORK_RECEIVE_PACKETS_TOTAL, "network.receivePacketsTotal", COUNTER) \
  X(NETWORK_TRANSMIT_PACKETS_TOTAL, "network.transmitPacketsTotal", COUNTER) \
  X(NETWORK_RECEIVE_ERRORS_TOTAL, "network.receiveErrorsTotal", COUNTER) \
  X(NETWORK_TRANSMIT_ERRORS_TOTAL, "network.transmitErrorsTotal", COUNTER) \
  X(NETWORK_RECEIVE_DROPS_TOTAL, "network.receiveDropsTotal", COUNTER)  \
  X(NETWORK_TRANSMIT_DROPS_TOTAL, "network.transmitDropsTotal", COUNTER) \
  X(NETWORK_SPEED, "network.speedBytesPerSecond", GAUGE)                \
  X(SENSOR_TEMPERATURE_CELSIUS, "sensor.temperatureCelsius", GAUGE)     \
  X(SENSOR_FAN_RPM, "sensor.fanRpm", GAUGE)                             \
  X(POWER_WATTS, "power.watts", GAUGE)                                  \
  X(POWER_ENERGY_JOULES_TOTAL, "power.energyJoulesTotal", COUNTER)      \
  X(CGROUP_MEMORY_LIMIT_BYTES, "cgroup.memoryLimitBytes", GAUGE)        \
  X(CGROUP_MEMORY_USED_BYTES, "cgroup.memoryUsedBytes", GAUGE)          \
  X(CGROUP_CPU_LIMIT_CORES, "cgroup.cpuLimitCores", GAUGE)              \
  X(CGROUP_THROTTLED_SECONDS_TOTAL, "cgroup.throttledSecondsTotal", COUNTER) \
  X(ACCELERATOR_BUSY_RATIO, "accelerator.busyRatio", GAUGE)             \
  X(ACCELERATOR_MEMORY_BUSY_RATIO, "accelerator.memoryBusyRatio", GAUGE) \
  X(ACCELERATOR_ENGINE_BUSY_RATIO, "accelerator.engineBusyRatio", GAUGE) \
  X(ACCELERATOR_PIPE_ACTIVE_RATIO, "accelerator.pipeActiveRatio", GAUGE) \
  X(ACCELERATOR_MEMORY_TOTAL_BYTES, "accelerator.memoryTotalBytes", GAUGE) \
  X(ACCELERATOR_MEMORY_USED_BYTES, "accelerator.memoryUsedBytes", GAUGE) \
  X(ACCELERATOR_POWER_WATTS, "accelerator.powerWatts", GAUGE)           \
  X(ACCELERATOR_POWER_LIMIT_WATTS, "accelerator.powerLimitWatts", GAUGE) \
  X(ACCELERATOR_ENERGY_COUNTER_JOULES, "accelerator.energyCounterJoules", COUNTER) \
  X(ACCELERATOR_TEMPERATURE_CELSIUS, "accelerator.temperatureCelsius", GAUGE) \
  X(ACCELERATOR_MEMORY_TEMPERATURE_CELSIUS, "accelerator.memoryTemperatureCelsius", GAUGE) \
  X(ACCELERATOR_CLOCK_HERTZ, "accelerator.clockHertz", GAUGE)           \
  X(ACCELERATOR_MEMORY_CLOCK_HERTZ, "accelerator.memoryClockHertz", GAUGE) \
  X(ACCELERATOR_FAN_RATIO, "accelerator.fanRatio", GAUGE)               \
  X(ACCELERATOR_ECC_CORRECTED_TOTAL, "accelerator.eccCorrectedTotal", COUNTER) \
  X(ACCELERATOR_ECC_UNCORRECTED_TOTAL, "accelerator.eccUncorrectedTotal", COUNTER) \
  X(ACCELERATOR_THROTTLED_RATIO, "accelerator.throttledRatio", GAUGE)   \
  X(ACCELERATOR_PCIE_REPLAYS_TOTAL, "accelerator.pcieReplaysTotal", COUNTER) \
  X(ACCELERATOR_PCIE_RECEIVE_RATE, "accelerator.pcieReceiveBytesPerSecond", GAUGE) \
  X(ACCELERATOR_PCIE_TRANSMIT_RATE, "accelerator.pcieTransmitBytesPerSecond", GAUGE) \
  X(ACCELERATOR_LINK_RECEIVE_BYTES_TOTAL, "accelerator.linkReceiveBytesTotal", COUNTER) \
  X(ACCELERATOR_LINK_TRANSMIT_BYTES_TOTAL, "accelerator.linkTransmitBytesTotal", COUNTER)

enum family {
#define X(id, name, kind) id,
  FAMILIES(X)
#undef X
      FAMILY_COUNT
};

// Indexes of `absentReasons`: never renumber.
enum reason { PRESENT, UNSUPPORTED, DENIED, LOST, LATE, ERROR, NOT_YET };

enum { LABEL_SIZE = 96 };

// Above what the parts of the host may announce together (1024 cores, 64 disks of 5, 64 interfaces of 9, 128 sensors
// and 64 power zones of 2, some 40 others), so that adding a column cannot fail; and room for 1024 devices with 44
// numbers each. A row is 5.8 MB of address space, of which only what is used becomes memory; windows are made as long
// as the columns are many.
enum { HOST_CAPACITY = 3072, DEVICE_CAPACITY = 1024 * 44, ROW_CAPACITY = HOST_CAPACITY + DEVICE_CAPACITY };

struct column {
  enum family family;
  int32_t device;          // number of the device, -1 for the host's
  char label[LABEL_SIZE];  // "" where the family has none
};

struct row {
  size_t count;
  bool stale;  // a part saw that its columns no longer fit what is there
  struct column columns[ROW_CAPACITY];
  double values[ROW_CAPACITY];   // NaN when absent
  // Of this tick's value in the window's mean: the seconds since the last tick, unless a part says otherwise.
  double weights[ROW_CAPACITY];
  uint8_t reasons[ROW_CAPACITY];
};

const char *family_name(enum family family);
enum kind family_kind(enum family family);

// A new empty row, or NULL without memory. Freed with free().
struct row *row_new(void);

// Adds a column, absent as `NOT_YET`; returns its index. Only while a generation is made.
size_t row_add(struct row *row, enum family family, const char *label);
size_t row_add_device(struct row *row, enum family family, const char *label, int32_t device);

// Makes `label` differ from the labels that the row already has in `family`, by a number at its end.
void row_unique_label(const struct row *row, enum family family, char label[LABEL_SIZE]);

bool row_same_columns(const struct row *a, const struct row *b);

// The reason that an errno stands for.
enum reason reason_of_errno(int error);

static inline void row_set(struct row *row, size_t column, double value) {
  row->values[column] = value;
  row->reasons[column] = PRESENT;
}

static inline void row_absent(struct row *row, size_t column, enum reason reason) {
  row->values[column] = NAN;
  row->reasons[column] = (uint8_t)reason;
}

static inline void row_absent_range(struct row *row, size_t first, size_t count, enum reason reason) {
  for (size_t i = 0; i < count; i++) row_absent(row, first + i, reason);
}

#ifdef __cplusplus
}
#endif

#endif
