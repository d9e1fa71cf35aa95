// A fake of Huawei's DCMI that plays a script (script.h; the keys stand in README.md). Layouts are written by their
// offsets, as shared/reference/dcmi.md gives them, and not by the header that is under test.
#define SCRIPT_VARIABLE "FLOPD_FAKE_DCMI"
#define SCRIPT_CALLS "FLOPD_FAKE_DCMI_CALLS"
#define SCRIPT_DEFAULT                                                                                     \
  "set count 2\nset driver 24.1.rc1\ndevice * name 910B3\ndevice * cores 20\ndevice * clockRated 1800\n"     \
  "device * clock 1800\ndevice * busy.2 40\ndevice * power 3311\ndevice * temperature 45\n"                  \
  "device * hbmSize 65536\ndevice * hbmUsed 3445\ndevice * hbmClock 1600\ndevice * hbmTemperature 42\n"      \
  "device * hbmBandwidth 12\ndevice * health 0\n"
#include "script.h"

enum { OK = 0, INVALID = -8001, TIMEOUT = -8006, ABSENT = -8008, UNSUPPORTED = -8255 };
enum { DEVICES = 1024 };

#define API __attribute__((visibility("default"))) int

static void put(void *to, size_t offset, uint64_t value, size_t size) { memcpy((char *)to + offset, &value, size); }

static uint64_t whole_of(const char *target, const char *key, uint64_t otherwise) {
  const char *text = script_text(target, key, NULL);
  return text == NULL ? otherwise : script_parse_whole(text);
}

static bool has(const char *target, const char *key) { return script_text(target, key, NULL) != NULL; }

static int leave(const char *function, const char *target) {
  int code = script_leave(function, target);
  return code == SCRIPT_LOST ? ABSENT : code;
}

// --- Where chips are: cards, chips on them, and a management controller behind the chips with `set mcu 1` ---

static int device_count(void) {
  uint64_t count = whole_of("", "count", 0);
  return count > DEVICES ? DEVICES : (int)count;
}

static int chips_per_card(void) {
  int chips = (int)whole_of("", "chipsPerCard", 1);
  return chips > 0 ? chips : 1;
}

static void name_target(int device, char target[SCRIPT_TARGET]) { snprintf(target, SCRIPT_TARGET, "%d", device); }

static int number_of(int device, const char *key, int otherwise) {
  char target[SCRIPT_TARGET];
  name_target(device, target);
  return (int)whole_of(target, key, (uint64_t)otherwise);
}

static int card_of(int device) { return number_of(device, "card", device / chips_per_card()); }
static int chip_of(int device) { return number_of(device, "chip", device % chips_per_card()); }
static int logic_of(int device) { return number_of(device, "logic", device); }

static int find_device(int card, int chip) {
  int count = device_count(), guess = card * chips_per_card() + chip;
  if (guess >= 0 && guess < count && card_of(guess) == card && chip_of(guess) == chip) return guess;
  for (int i = 0; i < count; i++)
    if (card_of(i) == card && chip_of(i) == chip) return i;
  return -1;
}

static int find_logic(int logic) {
  int count = device_count();
  if (logic >= 0 && logic < count && logic_of(logic) == logic) return logic;
  for (int i = 0; i < count; i++)
    if (logic_of(i) == logic) return i;
  return -1;
}

static int count_chips(int card) {
  int chips = 0;
  for (int i = 0; i < device_count(); i++) chips += card_of(i) == card;
  return chips;
}

static bool is_controller(int card, int chip) { return whole_of("", "mcu", 0) != 0 && chip == count_chips(card); }

static int begin(int device, const char *function, char target[SCRIPT_TARGET]) {
  if (device < 0) return INVALID;
  name_target(device, target);
  return leave(function, target);
}

#define ENTER_LIBRARY()           \
  int code = leave(__func__, ""); \
  if (code != OK) return code

static bool is_new(void) { return strcmp(script_text("", "generation", ""), "new") == 0; }

API dcmi_init(void) { return leave(__func__, ""); }
API dcmiv2_init(void) { return is_new() ? leave(__func__, "") : UNSUPPORTED; }

API dcmi_get_driver_version(char *text, unsigned size) {
  ENTER_LIBRARY();
  snprintf(text, size, "%s", script_text("", "driver", "24.1.rc1"));
  return OK;
}

API dcmi_get_card_list(int *count, int *list, int capacity) {
  ENTER_LIBRARY();
  *count = 0;
  for (int i = 0; i < device_count() && !is_new(); i++) {
    bool is_listed = false;
    for (int k = 0; k < *count && k < capacity; k++) is_listed = is_listed || list[k] == card_of(i);
    if (!is_listed && *count < capacity) list[(*count)++] = card_of(i);
  }
  return OK;
}

API dcmi_get_card_num_list(int *count, int *list, int capacity) { return dcmi_get_card_list(count, list, capacity); }

API dcmiv2_get_device_list(int *count, int *list, int capacity) {
  ENTER_LIBRARY();
  *count = 0;
  for (int i = 0; i < device_count() && i < capacity; i++) list[(*count)++] = logic_of(i);
  return OK;
}

API dcmi_get_device_num_in_card(int card, int *count) {
  ENTER_LIBRARY();
  *count = count_chips(card);
  if (*count > 0 && whole_of("", "mcu", 0) != 0) (*count)++;
  return OK;
}

API dcmi_get_device_id_in_card(int card, int *count, int *mcu, int *cpu) {
  ENTER_LIBRARY();
  *count = count_chips(card);
  *mcu = whole_of("", "mcu", 0) != 0 ? *count : -1;
  *cpu = -1;
  return OK;
}

API dcmi_get_device_logic_id(int *logic, int card, int chip) {
  char target[SCRIPT_TARGET];
  int device = find_device(card, chip), code = begin(device, __func__, target);
  if (code == OK) *logic = logic_of(device);
  return code;
}

static int physical(const char *function, unsigned logic, unsigned *answer) {
  char target[SCRIPT_TARGET];
  int device = find_logic((int)logic), code = begin(device, function, target);
  if (code == OK) *answer = (unsigned)number_of(device, "physical", device);
  return code;
}

API dcmi_get_device_phyid_from_logicid(unsigned logic, unsigned *answer) { return physical(__func__, logic, answer); }
API dcmiv2_get_chip_phy_id_by_dev_id(unsigned logic, unsigned *answer) { return physical(__func__, logic, answer); }

API dcmi_get_topo_info_by_device_id(int card, int chip, int other_card, int other_chip, int *kind) {
  char target[SCRIPT_TARGET], key[32];
  int code = begin(find_device(card, chip), __func__, target);
  if (code != OK) return code;
  int other = find_device(other_card, other_chip);
  if (other < 0) return INVALID;
  snprintf(key, sizeof key, "topology.%d", other);
  if (!has(target, key) && !has(target, "topology")) return UNSUPPORTED;
  *kind = (int)whole_of(target, key, whole_of(target, "topology", 0));
  return OK;
}

// --- Chips: one body for both sets of names ---

#define UNPACK(...) __VA_ARGS__
#define CLASSIC(function, body, parameters, arguments)                        \
  API function(int card, int chip, UNPACK parameters) {                       \
    char target[SCRIPT_TARGET];                                               \
    int code = begin(find_device(card, chip), #function, target);             \
    return code != OK ? code : body(target, UNPACK arguments);                \
  }
#define NEWER(function, body, parameters, arguments)                          \
  API function(int logic, UNPACK parameters) {                                \
    char target[SCRIPT_TARGET];                                               \
    int code = begin(find_logic(logic), #function, target);                   \
    return code != OK ? code : body(target, UNPACK arguments);                \
  }
#define BOTH(classic, newer, body, parameters, arguments) \
  CLASSIC(classic, body, parameters, arguments)           \
  NEWER(newer, body, parameters, arguments)

// One number under a key; without it the chip does not have that.
static int give(const char *target, const char *key, void *to) {
  if (!has(target, key)) return UNSUPPORTED;
  put(to, 0, whole_of(target, key, 0), 4);
  return OK;
}

static int give_selected(const char *target, const char *group, int which, void *to) {
  char key[32];
  snprintf(key, sizeof key, "%s.%d", group, which);
  return has(target, key) ? give(target, key, to) : INVALID;
}

API dcmi_get_device_type(int card, int chip, unsigned *type) {
  char target[SCRIPT_TARGET];
  *type = is_controller(card, chip) ? 1 : 0;
  return *type == 1 ? OK : begin(find_device(card, chip), __func__, target);
}

static int chip_info(const char *target, char *info) {
  if (!has(target, "name")) return UNSUPPORTED;
  snprintf(info, 32, "%s", script_text(target, "chipType", "Ascend"));
  snprintf(info + 32, 32, "%s", script_text(target, "name", ""));
  snprintf(info + 64, 32, "%s", script_text(target, "version", "V1"));
  put(info, 96, whole_of(target, "cores", 0), 4);
  return OK;
}
static int chip_info_v2(const char *target, char *info) {
  snprintf(info + 100, 32, "%s", script_text(target, "npuName", ""));
  return chip_info(target, info);
}
CLASSIC(dcmi_get_device_chip_info, chip_info, (char *info), (info))
BOTH(dcmi_get_device_chip_info_v2, dcmiv2_get_device_chip_info, chip_info_v2, (char *info), (info))

static void bus_of(const char *target, unsigned at[4]) {
  unsigned device = (unsigned)strtoul(target, NULL, 10);
  at[0] = device / 250, at[1] = device % 250 + 1, at[2] = at[3] = 0;
  const char *text = script_text(target, "busId", "");
  sscanf(text, "%x:%x:%x.%x", &at[0], &at[1], &at[2], &at[3]);
}
static int pcie_v2(const char *target, char *info) {
  unsigned at[4];
  bus_of(target, at);
  put(info, 0, 0x19e5, 4);
  for (size_t i = 0; i < 4; i++) put(info, 16 + i * 4, at[i], 4);
  return OK;
}
static int pcie(const char *target, char *info) {
  unsigned at[4];
  bus_of(target, at);
  put(info, 4, 0x19e5, 4);
  put(info, 16, at[2], 4);
  put(info, 20, at[1], 4);
  put(info, 24, at[3], 4);
  return OK;
}
CLASSIC(dcmi_get_device_pcie_info, pcie, (char *info), (info))
BOTH(dcmi_get_device_pcie_info_v2, dcmiv2_get_device_pcie_info, pcie_v2, (char *info), (info))

static int die(const char *target, unsigned kind, char *words) {
  unsigned w[5] = {0x42C711D4, 0x20B03704, 0x4A10C8D4 + kind, 0x14CC040A, (unsigned)strtoul(target, NULL, 10)};
  if (has(target, "die")) {
    memset(w, 0, sizeof w);
    sscanf(script_text(target, "die", ""), "%x %x %x %x %x", &w[0], &w[1], &w[2], &w[3], &w[4]);
  }
  memcpy(words, w, sizeof w);
  return OK;
}
static int die_old(const char *target, char *words) { return die(target, 1, words); }
CLASSIC(dcmi_get_device_die, die_old, (char *words), (words))
BOTH(dcmi_get_device_die_v2, dcmiv2_get_device_die_id, die, (unsigned kind, char *words), (kind, words))

static int label(const char *target, char *info) {
  if (!has(target, "serial")) return UNSUPPORTED;
  for (int i = 0; i < 4; i++) snprintf(info + i * 256, 256, "NA");
  snprintf(info + 1024, 256, "%s", script_text(target, "serial", ""));
  return OK;
}
BOTH(dcmi_get_device_elabel_info, dcmiv2_get_device_elabel_info, label, (char *info), (info))

static int components(const char *target, unsigned *list, unsigned count) {
  if (!has(target, "firmware") || count == 0) return UNSUPPORTED;
  list[0] = 18;
  return OK;
}
static int component(const char *target, unsigned which, char *text, unsigned size) {
  if (!has(target, "firmware") || which != 18 || size < 64) return UNSUPPORTED;
  snprintf(text, size, "%s", script_text(target, "firmware", ""));
  return OK;
}
BOTH(dcmi_get_device_component_list, dcmiv2_get_device_component_list, components, (unsigned *list, unsigned count),
     (list, count))
BOTH(dcmi_get_device_component_static_version, dcmiv2_get_device_component_static_version, component,
     (unsigned which, char *text, unsigned size), (which, text, size))

static int power(const char *target, int *value) { return give(target, "power", value); }
static int temperature(const char *target, int *value) { return give(target, "temperature", value); }
static int health(const char *target, unsigned *value) { return give(target, "health", value); }
static int network(const char *target, unsigned *value) { return give(target, "network", value); }
static int busy(const char *target, int which, unsigned *value) { return give_selected(target, "busy", which, value); }
static int frequency(const char *target, int which, unsigned *v) { return give_selected(target, "frequency", which, v); }
BOTH(dcmi_get_device_power_info, dcmiv2_get_device_power_info, power, (int *value), (value))
BOTH(dcmi_get_device_temperature, dcmiv2_get_device_temperature, temperature, (int *value), (value))
BOTH(dcmi_get_device_health, dcmiv2_get_device_health, health, (unsigned *value), (value))
BOTH(dcmi_get_device_network_health, dcmiv2_get_device_network_health, network, (unsigned *value), (value))
BOTH(dcmi_get_device_utilization_rate, dcmiv2_get_device_utilization_rate, busy, (int which, unsigned *value),
     (which, value))
BOTH(dcmi_get_device_frequency, dcmiv2_get_device_frequency, frequency, (int which, unsigned *value), (which, value))

// `multi CUBE VECTOR AICORE NPU`
static int multi(const char *target, char *info) {
  unsigned v[4];
  if (sscanf(script_text(target, "multi", ""), "%u %u %u %u", &v[0], &v[1], &v[2], &v[3]) != 4) return UNSUPPORTED;
  memcpy(info, v, sizeof v);
  return OK;
}
BOTH(dcmi_get_device_multi_utilization_rate, dcmiv2_get_device_multi_utilization_rate, multi, (char *info), (info))

static int aicore(const char *target, char *info) {
  if (!has(target, "clockRated") || !has(target, "clock")) return UNSUPPORTED;
  give(target, "clockRated", info);
  return give(target, "clock", info + 4);
}
BOTH(dcmi_get_device_aicore_info, dcmiv2_get_device_aicore_info, aicore, (char *info), (info))

static int hbm(const char *target, char *info, uint64_t unit) {
  if (!has(target, "hbmSize")) return UNSUPPORTED;
  put(info, 0, whole_of(target, "hbmSize", 0) * unit, 8);
  put(info, 8, whole_of(target, "hbmClock", 0), 4);
  put(info, 16, whole_of(target, "hbmUsed", 0) * unit, 8);
  put(info, 24, whole_of(target, "hbmTemperature", 0), 4);
  put(info, 28, whole_of(target, "hbmBandwidth", 0), 4);
  return OK;
}
static int hbm_mb(const char *target, char *info) { return hbm(target, info, 1); }
static int hbm_kb(const char *target, char *info) { return hbm(target, info, 1024); }
CLASSIC(dcmi_get_hbm_info, hbm_kb, (char *info), (info))
BOTH(dcmi_get_device_hbm_info, dcmiv2_get_device_hbm_info, hbm_mb, (char *info), (info))

#include "dcmi-more.h"
