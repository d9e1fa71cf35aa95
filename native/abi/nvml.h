// The part of NVIDIA's management library (NVML) that we call, declared by ourselves from facts of its ABI on 64-bit
// Linux (shared/reference/nvml.md, sections 2, 3, 9, 10 and 13). Names are ours, numbers and layouts are the library's.
//
// Libraries write by their own idea of a size, so whatever they fill lies in a room that is larger than any version of
// the struct (`ROOM`), prepared by `nvml_room`: bytes that the library did not write are all ones, its own marker for
// "not available".
#ifndef FLOPD_ABI_NVML_H
#define FLOPD_ABI_NVML_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct nvml_opaque_device *nvml_device;
typedef struct nvml_opaque_set *nvml_set;
typedef struct nvml_opaque_gpm *nvml_gpm;

enum {
  NVML_OK = 0,
  NVML_UNINITIALIZED = 1,
  NVML_INVALID_ARGUMENT = 2,
  NVML_NOT_SUPPORTED = 3,
  NVML_NO_PERMISSION = 4,
  NVML_NOT_FOUND = 6,
  NVML_INSUFFICIENT_SIZE = 7,
  NVML_DRIVER_NOT_LOADED = 9,
  NVML_TIMEOUT = 10,
  NVML_LIBRARY_NOT_FOUND = 12,
  NVML_FUNCTION_NOT_FOUND = 13,
  NVML_GPU_IS_LOST = 15,
  NVML_RESET_REQUIRED = 16,
  NVML_OPERATING_SYSTEM = 17,
  NVML_LIB_RM_VERSION_MISMATCH = 18,
  NVML_VERSION_MISMATCH = 25,
  NVML_DEPRECATED = 26,
  NVML_GPU_NOT_FOUND = 28,
  NVML_UNKNOWN = 999,
};

enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2 };
enum { NVML_PCIE_TRANSMIT = 0, NVML_PCIE_RECEIVE = 1 };  // KB/s over 20 ms, which the call waits for
enum { NVML_ECC_CORRECTED = 0, NVML_ECC_UNCORRECTED = 1, NVML_ECC_VOLATILE = 0, NVML_ECC_AGGREGATE = 1 };
enum { NVML_SENSOR_GPU = 0 };
enum { NVML_MAX_LINKS = 36, NVML_VIRTUALIZATION_GUEST = 2, NVML_TEXT = 96, NVML_NO_INSTANCE = -1 };

// Why clocks are held back, bits.
enum {
  NVML_REASON_POWER_CAP = 0x4,
  NVML_REASON_HW_SLOWDOWN = 0x8,
  NVML_REASON_SYNC_BOOST = 0x10,
  NVML_REASON_SW_THERMAL = 0x20,
  NVML_REASON_HW_THERMAL = 0x40,
  NVML_REASON_POWER_BRAKE = 0x80,
};

// Kinds of events, bits.
enum { NVML_EVENT_ECC_SINGLE = 0x1, NVML_EVENT_ECC_DOUBLE = 0x2, NVML_EVENT_XID = 0x8 };

// Ids of field values. Energy in mJ, power in mW, link data in KiB (138, 139) or bytes (202, 204).
enum {
  NVML_FIELD_MEMORY_TEMPERATURE = 82,
  NVML_FIELD_ENERGY = 83,
  NVML_FIELD_PCIE_REPLAYS = 94,
  NVML_FIELD_LINK_TRANSMIT = 138,
  NVML_FIELD_LINK_RECEIVE = 139,
  NVML_FIELD_POWER_AVERAGE = 185,
  NVML_FIELD_POWER_INSTANT = 186,
  NVML_FIELD_LINK5_TRANSMIT = 202,
  NVML_FIELD_LINK5_RECEIVE = 204,
  NVML_FIELD_RECOVERY_ACTION = 230,
};

// Ids of GPM metrics: percent, and MiB/s for PCIe.
enum {
  NVML_GPM_GRAPHICS = 1,
  NVML_GPM_SM = 2,
  NVML_GPM_OCCUPANCY = 3,
  NVML_GPM_TENSOR = 5,
  NVML_GPM_DFMA = 6,
  NVML_GPM_HMMA = 7,
  NVML_GPM_DMMA = 8,
  NVML_GPM_IMMA = 9,
  NVML_GPM_MEMORY = 10,
  NVML_GPM_FP64 = 11,
  NVML_GPM_FP32 = 12,
  NVML_GPM_FP16 = 13,
  NVML_GPM_PCIE_TRANSMIT = 20,
  NVML_GPM_PCIE_RECEIVE = 21,
};

// What a versioned struct carries in its first word. GPM structs carry a plain 1.
#define NVML_VERSION(type, number) ((uint32_t)(sizeof(type) | (uint32_t)(number) << 24))

struct nvml_pci {
  char old_bus_id[16];
  uint32_t domain, bus, device, device_id, subsystem_id;
  char bus_id[32];  // absent from the oldest version
};

struct nvml_utilization {
  uint32_t gpu, memory;  // percent
};

struct nvml_memory {
  uint64_t total, free, used;
};

struct nvml_memory2 {
  uint32_t version;
  uint64_t total, reserved, free, used;
};

struct nvml_temperature {
  uint32_t version, sensor;
  int32_t celsius;
};

// As lists of processes hold them since the second version of the calls.
struct nvml_process {
  uint32_t pid;
  uint64_t memory;
  uint32_t gpu_instance, compute_instance;
};

struct nvml_process1 {
  uint32_t pid;
  uint64_t memory;
};

struct nvml_event {
  nvml_device device;
  uint64_t type, data;
  uint32_t gpu_instance, compute_instance;
};

union nvml_value {
  double real;
  uint32_t u32;
  uint64_t u64;
  int64_t s64;
  int32_t s32;
  uint16_t u16;
};

enum { NVML_REAL, NVML_U32, NVML_ULONG, NVML_U64, NVML_S64, NVML_S32, NVML_U16 };

struct nvml_field {
  uint32_t id, scope;
  int64_t time_us, latency_us;
  uint32_t type;
  int32_t code;
  union nvml_value value;
};

struct nvml_attributes {
  uint32_t units, copy_engines, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
  uint64_t memory_mib;
};

struct nvml_fabric {
  uint32_t version;
  uint8_t cluster[16];
  uint32_t status, clique, state, health_mask;
  uint8_t health;
};

// Of version 2, which ends before the last word.
enum { NVML_FABRIC2_SIZE = 36 };

struct nvml_gpm_support {
  uint32_t version, supported;
};

struct nvml_gpm_metric {
  uint32_t id;
  int32_t code;
  double value;
  const char *names[3];
};

// Versions of the library know 98, 210 or 333 metrics by the same version number, so there is room for all of them.
enum { NVML_GPM_MOST = 333 };

struct nvml_gpm_metrics {
  uint32_t version, count;
  nvml_gpm first, second;
  struct nvml_gpm_metric metrics[NVML_GPM_MOST];
};

_Static_assert(sizeof(struct nvml_pci) == 68, "layout of the ABI");
_Static_assert(NVML_VERSION(struct nvml_memory2, 2) == 0x02000028, "layout of the ABI");
_Static_assert(NVML_VERSION(struct nvml_temperature, 1) == 0x0100000c, "layout of the ABI");
_Static_assert(sizeof(struct nvml_process) == 24 && sizeof(struct nvml_process1) == 16, "layout of the ABI");
_Static_assert(sizeof(struct nvml_event) == 32 && sizeof(struct nvml_field) == 40, "layout of the ABI");
_Static_assert(sizeof(struct nvml_attributes) == 40, "layout of the ABI");
_Static_assert(NVML_VERSION(struct nvml_fabric, 3) == 0x03000028, "layout of the ABI");
_Static_assert(offsetof(struct nvml_fabric, state) == 28, "layout of the ABI");
_Static_assert(sizeof(struct nvml_gpm_metric) == 40 && sizeof(struct nvml_gpm_metrics) == 13344, "layout of the ABI");

// A struct that the library fills, with room behind it.
enum { NVML_ROOM = 512 };
#define ROOM(type)                 \
  union {                          \
    type it;                       \
    unsigned char room[NVML_ROOM]; \
  }

static inline void nvml_room(void *room) { memset(room, 0xff, NVML_ROOM); }

// Our name of a function, whether nothing works without it, its parameters, and its names in the library, best first
// (all with the same parameters).
#define NVML_FUNCTIONS(X)                                                                                           \
  X(init, true, (void), "nvmlInit_v2", "nvmlInit")                                                                  \
  X(shutdown, false, (void), "nvmlShutdown")                                                                        \
  X(driver_version, false, (char *, unsigned), "nvmlSystemGetDriverVersion")                                        \
  X(count, true, (unsigned *), "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount")                                       \
  X(handle, true, (unsigned, nvml_device *), "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")         \
  X(name, false, (nvml_device, char *, unsigned), "nvmlDeviceGetName")                                              \
  X(uuid, false, (nvml_device, char *, unsigned), "nvmlDeviceGetUUID")                                              \
  X(serial, false, (nvml_device, char *, unsigned), "nvmlDeviceGetSerial")                                          \
  X(vbios, false, (nvml_device, char *, unsigned), "nvmlDeviceGetVbiosVersion")                                     \
  X(minor, false, (nvml_device, unsigned *), "nvmlDeviceGetMinorNumber")                                            \
  X(pci, false, (nvml_device, struct nvml_pci *), "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2",             \
    "nvmlDeviceGetPciInfo")                                                                                         \
  X(capability, false, (nvml_device, int *, int *), "nvmlDeviceGetCudaComputeCapability")                           \
  X(cores, false, (nvml_device, unsigned *), "nvmlDeviceGetNumGpuCores")                                            \
  X(attributes, false, (nvml_device, struct nvml_attributes *), "nvmlDeviceGetAttributes_v2")                       \
  X(memory_affinity, false, (nvml_device, unsigned, unsigned long *, unsigned), "nvmlDeviceGetMemoryAffinity")      \
  X(numa_node, false, (nvml_device, unsigned *), "nvmlDeviceGetNumaNodeId")                                         \
  X(virtualization, false, (nvml_device, unsigned *), "nvmlDeviceGetVirtualizationMode")                            \
  X(clock, false, (nvml_device, unsigned, unsigned *), "nvmlDeviceGetClockInfo")                                    \
  X(max_clock, false, (nvml_device, unsigned, unsigned *), "nvmlDeviceGetMaxClockInfo")                             \
  X(reasons, false, (nvml_device, uint64_t *), "nvmlDeviceGetCurrentClocksEventReasons",                            \
    "nvmlDeviceGetCurrentClocksThrottleReasons")                                                                    \
  X(utilization, false, (nvml_device, struct nvml_utilization *), "nvmlDeviceGetUtilizationRates")                  \
  X(encoder, false, (nvml_device, unsigned *, unsigned *), "nvmlDeviceGetEncoderUtilization")                       \
  X(decoder, false, (nvml_device, unsigned *, unsigned *), "nvmlDeviceGetDecoderUtilization")                       \
  X(memory2, false, (nvml_device, struct nvml_memory2 *), "nvmlDeviceGetMemoryInfo_v2")                             \
  X(memory, false, (nvml_device, struct nvml_memory *), "nvmlDeviceGetMemoryInfo")                                  \
  X(power, false, (nvml_device, unsigned *), "nvmlDeviceGetPowerUsage")                                             \
  X(power_enforced, false, (nvml_device, unsigned *), "nvmlDeviceGetEnforcedPowerLimit")                            \
  X(power_limit, false, (nvml_device, unsigned *), "nvmlDeviceGetPowerManagementLimit")                             \
  X(energy, false, (nvml_device, uint64_t *), "nvmlDeviceGetTotalEnergyConsumption")                                \
  X(temperature_v, false, (nvml_device, struct nvml_temperature *), "nvmlDeviceGetTemperatureV")                    \
  X(temperature, false, (nvml_device, unsigned, unsigned *), "nvmlDeviceGetTemperature")                            \
  X(fan, false, (nvml_device, unsigned *), "nvmlDeviceGetFanSpeed")                                                 \
  X(fan2, false, (nvml_device, unsigned, unsigned *), "nvmlDeviceGetFanSpeed_v2")                                   \
  X(ecc, false, (nvml_device, unsigned, unsigned, uint64_t *), "nvmlDeviceGetTotalEccErrors")                       \
  X(remapped_rows, false, (nvml_device, unsigned *, unsigned *, unsigned *, unsigned *),                            \
    "nvmlDeviceGetRemappedRows")                                                                                    \
  X(pages_pending, false, (nvml_device, unsigned *), "nvmlDeviceGetRetiredPagesPendingStatus")                      \
  X(pcie_generation, false, (nvml_device, unsigned *), "nvmlDeviceGetCurrPcieLinkGeneration")                       \
  X(pcie_width, false, (nvml_device, unsigned *), "nvmlDeviceGetCurrPcieLinkWidth")                                 \
  X(pcie_width_max, false, (nvml_device, unsigned *), "nvmlDeviceGetMaxPcieLinkWidth")                              \
  X(pcie_throughput, false, (nvml_device, unsigned, unsigned *), "nvmlDeviceGetPcieThroughput")                     \
  X(pcie_replays, false, (nvml_device, unsigned *), "nvmlDeviceGetPcieReplayCounter")                               \
  X(link_state, false, (nvml_device, unsigned, unsigned *), "nvmlDeviceGetNvLinkState")                             \
  X(link_remote, false, (nvml_device, unsigned, struct nvml_pci *), "nvmlDeviceGetNvLinkRemotePciInfo_v2",          \
    "nvmlDeviceGetNvLinkRemotePciInfo")                                                                             \
  X(fabric_v, false, (nvml_device, struct nvml_fabric *), "nvmlDeviceGetGpuFabricInfoV")                            \
  X(fields, false, (nvml_device, int, struct nvml_field *), "nvmlDeviceGetFieldValues")                             \
  X(mig_mode, false, (nvml_device, unsigned *, unsigned *), "nvmlDeviceGetMigMode")                                 \
  X(mig_count, false, (nvml_device, unsigned *), "nvmlDeviceGetMaxMigDeviceCount")                                  \
  X(mig_handle, false, (nvml_device, unsigned, nvml_device *), "nvmlDeviceGetMigDeviceHandleByIndex")               \
  X(gpu_instance, false, (nvml_device, unsigned *), "nvmlDeviceGetGpuInstanceId")                                   \
  X(compute_instance, false, (nvml_device, unsigned *), "nvmlDeviceGetComputeInstanceId")                           \
  X(compute3, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetComputeRunningProcesses_v3")                  \
  X(compute2, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetComputeRunningProcesses_v2")                  \
  X(compute1, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetComputeRunningProcesses")                     \
  X(graphics3, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetGraphicsRunningProcesses_v3")                \
  X(graphics2, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetGraphicsRunningProcesses_v2")                \
  X(graphics1, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetGraphicsRunningProcesses")                   \
  X(mps3, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetMPSComputeRunningProcesses_v3")                   \
  X(mps2, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetMPSComputeRunningProcesses_v2")                   \
  X(mps1, false, (nvml_device, unsigned *, void *), "nvmlDeviceGetMPSComputeRunningProcesses")                      \
  X(set_create, false, (nvml_set *), "nvmlEventSetCreate")                                                          \
  X(set_free, false, (nvml_set), "nvmlEventSetFree")                                                                \
  X(event_types, false, (nvml_device, uint64_t *), "nvmlDeviceGetSupportedEventTypes")                              \
  X(register_events, false, (nvml_device, uint64_t, nvml_set), "nvmlDeviceRegisterEvents")                          \
  X(set_wait, false, (nvml_set, struct nvml_event *, unsigned), "nvmlEventSetWait_v2", "nvmlEventSetWait")          \
  X(gpm_support, false, (nvml_device, struct nvml_gpm_support *), "nvmlGpmQueryDeviceSupport")                      \
  X(gpm_alloc, false, (nvml_gpm *), "nvmlGpmSampleAlloc")                                                           \
  X(gpm_free, false, (nvml_gpm), "nvmlGpmSampleFree")                                                               \
  X(gpm_sample, false, (nvml_device, nvml_gpm), "nvmlGpmSampleGet")                                                 \
  X(gpm_mig_sample, false, (nvml_device, unsigned, nvml_gpm), "nvmlGpmMigSampleGet")                                \
  X(gpm_metrics, false, (struct nvml_gpm_metrics *), "nvmlGpmMetricsGet")

struct nvml {
#define X(field, required, parameters, ...) int(*field) parameters;
  NVML_FUNCTIONS(X)
#undef X
};

// Calls a function of the table; one that the library lacks answers as the library itself would say it.
#define NVML(table, field, ...) \
  ((table)->field != NULL ? (table)->field(__VA_ARGS__) : (int)NVML_FUNCTION_NOT_FOUND)

#endif
