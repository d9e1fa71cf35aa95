// What we know of the binary interface of Huawei's DCMI (libdcmi.so), as far as we call it: numbers, layouts (LP64) and
// functions, in our own words and names. Facts from the vendor's public headers and pages; never run on hardware.
//
// The library writes by its own idea of a size, and headers of several years disagree (the ECC struct grew under one
// name), so everything that it fills has DCMI_SLACK after what we know, and is zeroed before.
#ifndef FLOPD_DCMI_H
#define FLOPD_DCMI_H

#include <stddef.h>
#include <stdint.h>

// Codes. Ours are positive: the library's never are.
enum {
  DCMI_OK = 0,
  DCMI_LACKING = 1,  // the library has no such function, or said before that it cannot
  DCMI_INVALID_PARAMETER = -8001,
  DCMI_NOT_PERMITTED = -8002,
  DCMI_INTERNAL = -8005,
  DCMI_TIMEOUT = -8006,
  DCMI_INVALID_DEVICE = -8007,
  DCMI_DEVICE_ABSENT = -8008,
  DCMI_IOCTL_FAILED = -8009,
  DCMI_SEND_FAILED = -8010,
  DCMI_RECEIVE_FAILED = -8011,
  DCMI_NOT_READY = -8012,
  DCMI_NOT_IN_CONTAINER = -8013,
  DCMI_RESET = -8015,
  DCMI_ABORTED = -8016,
  DCMI_UPGRADING = -8017,
  DCMI_OCCUPIED = -8020,
  DCMI_UNSUPPORTED = -8255,
};

// Limits.
enum {
  DCMI_CARDS = 64,
  DCMI_PARTS = 32,        // of a chip
  DCMI_CODES = 128,
  DCMI_PROCESSES = 4096,  // the list has no capacity argument; 32 are usual
  DCMI_TEXT = 256,
  DCMI_ROOM = 4096,
};

#define DCMI_SLACK unsigned char slack[DCMI_ROOM]

// Selectors.
enum { DCMI_UNIT_NPU = 0 };
enum { DCMI_DIE_VENDOR = 1 };  // of the die ids, the one that is unique
enum { DCMI_ECC_DDR = 0, DCMI_ECC_HBM = 2 };
enum { DCMI_CLOCK_DDR = 1, DCMI_CLOCK_HBM = 6, DCMI_CLOCK_AICORE = 7, DCMI_CLOCK_AICORE_RATED = 9 };
enum {
  DCMI_BUSY_AICORE = 2,
  DCMI_BUSY_AICPU = 3,
  DCMI_BUSY_CONTROL_CPU = 4,
  DCMI_BUSY_DDR_BANDWIDTH = 5,
  DCMI_BUSY_HBM_BANDWIDTH = 10,
  DCMI_BUSY_VECTOR = 12,
  DCMI_BUSY_NPU = 13,
  DCMI_BUSY_CUBE = 14,
};
enum { DCMI_MAIN_LOW_POWER = 8, DCMI_MAIN_PARTS = 52 };
enum { DCMI_LOW_POWER_CAUSE = 9, DCMI_LOW_POWER_RATING = 10 };
enum { DCMI_PARTS_ONE = 0, DCMI_PARTS_ALL = 1, DCMI_PARTS_ACTIVITY = 5 };
enum { DCMI_COMPONENT_NVE = 0, DCMI_COMPONENT_LOADER = 1, DCMI_COMPONENT_HILINK = 18 };
// Bits of why the AI cores run below their rated clock.
enum {
  DCMI_CAUSE_IDLE = 1 << 0,
  DCMI_CAUSE_THERMAL = 1 << 2,
  DCMI_CAUSE_CURRENT = 1 << 3,        // average current, by software
  DCMI_CAUSE_CURRENT_PEAK = 1 << 4,   // by hardware
  DCMI_CAUSE_POWER_BRAKE = 1 << 5,    // the board's power monitor
  DCMI_CAUSE_VOLTAGE_NOISE = 1 << 8,  // by hardware
  DCMI_CAUSE_POWER_CAP = 1 << 10,     // the board's management controller
};
enum { DCMI_TOPOLOGY_SELF, DCMI_TOPOLOGY_UNKNOWN = 9 };

// Layouts.
struct dcmi_chip {
  char type[32], name[32], version[32];
  uint32_t core_count;
  char npu_name[32];  // of the second version alone
  DCMI_SLACK;
};

struct dcmi_pcie {  // the second version
  uint32_t vendor, subvendor, device, subdevice;
  int32_t domain;
  uint32_t bus, slot, function;
  DCMI_SLACK;
};

struct dcmi_pcie_old {  // no domain, and the slot stands before the bus
  uint32_t device, vendor, subvendor, subdevice, slot, bus, function;
  DCMI_SLACK;
};

struct dcmi_label {
  char product[DCMI_TEXT], model[DCMI_TEXT], maker[DCMI_TEXT], date[DCMI_TEXT], serial[DCMI_TEXT];
  DCMI_SLACK;
};

struct dcmi_die {
  uint32_t words[5];
  DCMI_SLACK;
};

struct dcmi_busy {  // percent
  uint32_t cube, vector, aicore, npu;
  DCMI_SLACK;
};

struct dcmi_aicore {  // MHz
  uint32_t rated, current;
  DCMI_SLACK;
};

struct dcmi_hbm {
  uint64_t size;  // MB; of the oldest call KB
  uint32_t megahertz;
  uint64_t used;
  int32_t celsius;
  uint32_t bandwidth_percent;
  DCMI_SLACK;
};

struct dcmi_memory {  // the third version
  uint64_t size_mb, available_mb;
  uint32_t megahertz;
  uint64_t page_kb;
  uint32_t pages, pages_free, used_percent;
  DCMI_SLACK;
};

struct dcmi_memory_old {  // the second version
  uint64_t size_mb;
  uint32_t megahertz, used_percent;
  DCMI_SLACK;
};

struct dcmi_ecc {
  uint32_t enabled, single, twofold, single_total, twofold_total, single_isolated, twofold_isolated;
  // Written by newer libraries alone.
  uint32_t single_pending, twofold_pending;
  DCMI_SLACK;
};

struct dcmi_process {
  int32_t pid;
  uint64_t bytes;
};

// Generic calls are given the size that the headers say, which the library may check.
enum { DCMI_RATING_SIZE = 36, DCMI_PARTS_SIZE = 360, DCMI_PART_SIZE = 264, DCMI_CAUSE_SIZE = 8 };

struct dcmi_rating {
  uint32_t milliwatts;
  DCMI_SLACK;
};

struct dcmi_cause {
  uint64_t bits;
  DCMI_SLACK;
};

struct dcmi_resources {
  float aicores, vector_cores;
  uint16_t other[8];
  uint64_t memory_mb;
  uint32_t numbers[4];
  uint16_t cpus[5];
  uint32_t busy_percent;            // the last three: of a part's activity alone
  uint64_t memory_kb, memory_free_kb;
  unsigned char reserved[12];
};

struct dcmi_parts {
  uint32_t count, ids[DCMI_PARTS], group_count, group_bits;
  uint64_t base[8];
  struct dcmi_resources resources;
  unsigned char media[56];
  DCMI_SLACK;
};

struct dcmi_part {
  uint32_t id;  // is asked for
  char name[16] __attribute__((aligned(8)));
  uint32_t status, is_in_container, function, group;
  uint64_t container;
  uint64_t base[8];
  struct dcmi_resources resources;
  unsigned char media[56];
  DCMI_SLACK;
};

struct dcmi_filter {
  uint64_t flags;  // 0: everything
  uint32_t event;
  uint8_t severity, node_type, reserved[32];
};

enum { DCMI_EVENT_FAULT = 0 };
enum { DCMI_RECOVERED = 0 };

struct dcmi_event {
  uint32_t type;
  uint32_t code __attribute__((aligned(8)));
  uint16_t logic_id;
  uint8_t node_type, node, subnode_type, subnode, severity, assertion;
  int32_t serial, notify_serial;
  uint64_t raised;
  char name[256];
  char detail[32];
  unsigned char reserved[32];
};

typedef void dcmi_handler(struct dcmi_event *event);

#define DCMI_AT(type, field, at) _Static_assert(offsetof(struct type, field) == (at), #type "." #field)
DCMI_AT(dcmi_chip, core_count, 96);
DCMI_AT(dcmi_pcie, function, 28);
DCMI_AT(dcmi_label, serial, 1024);
DCMI_AT(dcmi_hbm, celsius, 24);
DCMI_AT(dcmi_hbm, bandwidth_percent, 28);
DCMI_AT(dcmi_memory, page_kb, 24);
DCMI_AT(dcmi_memory, used_percent, 40);
DCMI_AT(dcmi_ecc, single_pending, 28);
DCMI_AT(dcmi_process, bytes, 8);
DCMI_AT(dcmi_resources, busy_percent, 60);
DCMI_AT(dcmi_parts, resources, 208);
DCMI_AT(dcmi_parts, slack, DCMI_PARTS_SIZE);
DCMI_AT(dcmi_part, name, 8);
DCMI_AT(dcmi_part, resources, 112);
DCMI_AT(dcmi_part, slack, DCMI_PART_SIZE);
DCMI_AT(dcmi_event, code, 8);
DCMI_AT(dcmi_event, raised, 32);
DCMI_AT(dcmi_event, name, 40);
_Static_assert(sizeof(struct dcmi_resources) == 96 && sizeof(struct dcmi_filter) == 48 && sizeof(struct dcmi_event) == 360,
               "sizes");

// Functions about one chip: field, parameters after the chip's address, classic name (addressed by card and chip), name
// of the newer set (addressed by the logic id; the generation of the 950), NULL where there is none.
#define DCMI_CHIP_FUNCTIONS(X)                                                                                        \
  X(type, (uint32_t * unit), "dcmi_get_device_type", "dcmiv2_get_device_type")                                        \
  X(chip, (struct dcmi_chip *), "dcmi_get_device_chip_info_v2", "dcmiv2_get_device_chip_info")                        \
  X(chip_old, (struct dcmi_chip *), "dcmi_get_device_chip_info", NULL)                                                \
  X(pcie, (struct dcmi_pcie *), "dcmi_get_device_pcie_info_v2", "dcmiv2_get_device_pcie_info")                        \
  X(pcie_old, (struct dcmi_pcie_old *), "dcmi_get_device_pcie_info", NULL)                                            \
  X(label, (struct dcmi_label *), "dcmi_get_device_elabel_info", "dcmiv2_get_device_elabel_info")                     \
  X(die, (uint32_t kind, struct dcmi_die *), "dcmi_get_device_die_v2", "dcmiv2_get_device_die_id")                    \
  X(die_old, (struct dcmi_die *), "dcmi_get_device_die", NULL)                                                        \
  X(components, (uint32_t * list, uint32_t count), "dcmi_get_device_component_list",                                  \
    "dcmiv2_get_device_component_list")                                                                               \
  X(component_version, (uint32_t component, char *text, uint32_t size), "dcmi_get_device_component_static_version",   \
    "dcmiv2_get_device_component_static_version")                                                                     \
  X(power, (int32_t * deciwatts), "dcmi_get_device_power_info", "dcmiv2_get_device_power_info")                       \
  X(temperature, (int32_t * celsius), "dcmi_get_device_temperature", "dcmiv2_get_device_temperature")                 \
  X(busy, (int32_t what, uint32_t *percent), "dcmi_get_device_utilization_rate", "dcmiv2_get_device_utilization_rate") \
  X(busy_all, (struct dcmi_busy *), "dcmi_get_device_multi_utilization_rate", "dcmiv2_get_device_multi_utilization_rate") \
  X(aicore, (struct dcmi_aicore *), "dcmi_get_device_aicore_info", "dcmiv2_get_device_aicore_info")                   \
  X(clock, (int32_t what, uint32_t *megahertz), "dcmi_get_device_frequency", "dcmiv2_get_device_frequency")           \
  X(hbm, (struct dcmi_hbm *), "dcmi_get_device_hbm_info", "dcmiv2_get_device_hbm_info")                               \
  X(hbm_old, (struct dcmi_hbm *), "dcmi_get_hbm_info", NULL)                                                          \
  X(memory, (struct dcmi_memory *), "dcmi_get_device_memory_info_v3", NULL)                                           \
  X(memory_old, (struct dcmi_memory_old *), "dcmi_get_device_memory_info_v2", NULL)                                   \
  X(health, (uint32_t * level), "dcmi_get_device_health", "dcmiv2_get_device_health")                                 \
  X(codes, (int32_t * count, uint32_t *codes, uint32_t capacity), "dcmi_get_device_errorcode_v2",                     \
    "dcmiv2_get_device_error_code_list")                                                                              \
  X(ecc, (int32_t what, struct dcmi_ecc *), "dcmi_get_device_ecc_info", "dcmiv2_get_device_ecc_info")                 \
  X(processes, (struct dcmi_process *, int32_t *count), "dcmi_get_device_resource_info",                              \
    "dcmiv2_get_device_proc_mem_info")                                                                                \
  X(network, (uint32_t * health), "dcmi_get_device_network_health", "dcmiv2_get_device_network_health")               \
  X(info, (uint32_t what, uint32_t which, void *, uint32_t *size), "dcmi_get_device_info", "dcmiv2_get_device_info")

// The others: field, whether nothing works without it, parameters, its names (best first).
#define DCMI_FUNCTIONS(X)                                                                                    \
  X(init, true, (void), "dcmi_init")                                                                         \
  X(cards, true, (int32_t * count, int32_t *cards, int32_t capacity), "dcmi_get_card_list", "dcmi_get_card_num_list") \
  X(chip_count, false, (int32_t card, int32_t *count), "dcmi_get_device_num_in_card")                        \
  X(chip_numbers, false, (int32_t card, int32_t *count, int32_t *mcu, int32_t *cpu), "dcmi_get_device_id_in_card") \
  X(logic_id, false, (int32_t * logic_id, int32_t card, int32_t chip), "dcmi_get_device_logic_id")           \
  X(physical_id, false, (uint32_t logic_id, uint32_t *physical_id), "dcmi_get_device_phyid_from_logicid")    \
  X(driver_version, false, (char *text, uint32_t size), "dcmi_get_driver_version")                           \
  X(topology, false, (int32_t card, int32_t chip, int32_t other_card, int32_t other_chip, int32_t *kind),    \
    "dcmi_get_topo_info_by_device_id")                                                                       \
  X(subscribe, false, (int32_t card, int32_t chip, struct dcmi_filter, dcmi_handler *), "dcmi_subscribe_fault_event") \
  X(next_event, false, (int32_t card, int32_t chip, int32_t timeout_ms, struct dcmi_filter, struct dcmi_event *), \
    "dcmi_get_fault_event")                                                                                  \
  X(new_init, false, (void), "dcmiv2_init")                                                                  \
  X(new_list, false, (int32_t * count, int32_t *logic_ids, int32_t capacity), "dcmiv2_get_device_list")      \
  X(new_physical_id, false, (uint32_t logic_id, uint32_t *physical_id), "dcmiv2_get_chip_phy_id_by_dev_id")

#define DCMI_ARGUMENTS(...) __VA_ARGS__
struct dcmi {
#define X(field, required, parameters, ...) int(*field) parameters;
  DCMI_FUNCTIONS(X)
#undef X
#define X(field, parameters, classic, newer) int(*field)(int32_t card, int32_t chip, DCMI_ARGUMENTS parameters);
  struct {
    DCMI_CHIP_FUNCTIONS(X)
  } classic;
#undef X
#define X(field, parameters, classic, newer) int(*field)(int32_t logic_id, DCMI_ARGUMENTS parameters);
  struct {
    DCMI_CHIP_FUNCTIONS(X)
  } newer;
#undef X
};

#endif
