// Who is there: chips and the parts that they are divided into. A chip is asked who it is once; what could not be told
// then is asked for again a few times, but its id stays.
//
//   index   logic id: what npu-smi's map and ASCEND_RT_VISIBLE_DEVICES count by
//   id      of the die, `42C711D4-20B03704-…`, else `npu-<place on the bus>`, else `npu-<card>-<chip>`; of a part
//           `<id of the chip>/vnpu-<number>`. As src/device/ascend/ makes them from the tool's answers.
//   node    physical id N of /dev/davinciN; of a part, N of /dev/vdavinciN
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ascend.h"

enum { MAX_TRIES = 4, MAX_CHIPS = 64, DIE_TRIES = 3 };  // of a chip, of a card, of an id

#ifndef ASCEND_SYS_ROOT
#define ASCEND_SYS_ROOT "/sys"
#endif

struct listing {
  struct ascend_session *session;
  struct device *devices;
  size_t capacity, count;
  size_t chips;  // so far, without parts
};

// Who a chip is.

static void read_bus(struct ascend_round *r, struct device *device) {
  struct dcmi_pcie pcie = {0};
  struct dcmi_pcie_old old = {0};
  unsigned domain = 0, bus = UINT32_MAX, slot = 0, function = 0;
  if (ASCEND_ASK(r, PCIE, pcie, &pcie) == DCMI_OK) {
    domain = pcie.domain < 0 ? UINT32_MAX : (unsigned)pcie.domain;
    bus = pcie.bus;
    slot = pcie.slot;
    function = pcie.function;
  } else if (ASCEND_ASK(r, PCIE_OLD, pcie_old, &old) == DCMI_OK) {
    bus = old.bus;
    slot = old.slot;
    function = old.function;
  }
  if (domain > 0xFFFF || bus > 0xFF || slot > 0x1F || function > 7) return;
  // Chips of a system on chip are on no bus and answer with zeros.
  if (domain == 0 && bus == 0 && slot == 0 && function == 0) return;
  snprintf(device->bus_id, sizeof device->bus_id, "%04X:%02X:%02X.%X", domain, bus, slot, function);
}

static int read_numa_node(const char *bus_id) {
  char path[160], text[16] = "";
  int node = -1;
  if (bus_id[0] == '\0') return -1;
  int length = snprintf(path, sizeof path, "%s/bus/pci/devices/%s/numa_node", ASCEND_SYS_ROOT, bus_id);
  if (length < 0 || (size_t)length >= sizeof path) return -1;
  for (char *at = path + strlen(ASCEND_SYS_ROOT); *at != '\0'; at++) *at = (char)tolower((unsigned char)*at);
  FILE *file = fopen(path, "re");
  if (file == NULL) return -1;
  if (fgets(text, sizeof text, file) == NULL || sscanf(text, "%d", &node) != 1 || node > 4095) node = -1;
  fclose(file);
  return node < 0 ? -1 : node;
}

static bool is_said(const struct dcmi_die *die) {
  bool has_ones = true, has_zeros = true;
  for (int i = 0; i < 5; i++) {
    has_zeros = has_zeros && die->words[i] == 0;
    has_ones = has_ones && die->words[i] == UINT32_MAX;
  }
  return !has_ones && !has_zeros;
}

static bool read_die(struct ascend_round *r, char *id, size_t size) {
  struct dcmi_die die = {0};
  int code = DCMI_LACKING;
  // An id that changes would be another device: worth asking again.
  for (int i = 0; i < DIE_TRIES; i++) {
    code = ASCEND_ASK(r, DIE, die, DCMI_DIE_VENDOR, &die);
    if (code != DCMI_OK) code = ASCEND_ASK(r, DIE_OLD, die_old, &die);
    if (code == DCMI_OK || code == DCMI_LACKING) break;
  }
  if (code != DCMI_OK || !is_said(&die)) return false;
  const uint32_t *w = die.words;
  snprintf(id, size, "%08X-%08X-%08X-%08X-%08X", w[0], w[1], w[2], w[3], w[4]);
  return true;
}

static void read_firmware(struct ascend_round *r, struct device *device) {
  uint32_t list[DCMI_ROOM / 4] = {0};
  char text[DCMI_ROOM] = "";
  int code = ASCEND_ASK(r, COMPONENTS, components, list, 1);
  if (code == DCMI_OK) code = ASCEND_ASK(r, VERSION_OWN, component_version, list[0], text, DCMI_TEXT);
  // Which part of the firmware gives it its version depends on the generation.
  if (code != DCMI_OK) code = ASCEND_ASK(r, VERSION_HILINK, component_version, DCMI_COMPONENT_HILINK, text, DCMI_TEXT);
  if (code != DCMI_OK) code = ASCEND_ASK(r, VERSION_LOADER, component_version, DCMI_COMPONENT_LOADER, text, DCMI_TEXT);
  if (code != DCMI_OK) code = ASCEND_ASK(r, VERSION_NVE, component_version, DCMI_COMPONENT_NVE, text, DCMI_TEXT);
  if (code == DCMI_OK) ascend_text(device->firmware, sizeof device->firmware, text, sizeof text);
}

static void read_facts(struct ascend_round *r, struct device *device) {
  struct dcmi_chip chip = {0};
  struct dcmi_label label = {0};
  struct dcmi_aicore aicore = {0};
  uint32_t megahertz[DCMI_ROOM / 4] = {0};
  int code = ASCEND_ASK(r, CHIP, chip, &chip);
  if (code != DCMI_OK) code = ASCEND_ASK(r, CHIP_OLD, chip_old, &chip);
  if (code == DCMI_OK) {
    if (!ascend_text(device->name, sizeof device->name, chip.name, sizeof chip.name))
      ascend_text(device->name, sizeof device->name, chip.npu_name, sizeof chip.npu_name);
    if (chip.core_count > 0 && chip.core_count <= 4096) device->units = chip.core_count;
  }
  if (ASCEND_ASK(r, LABEL, label, &label) == DCMI_OK)
    ascend_text(device->serial, sizeof device->serial, label.serial, sizeof label.serial);
  if (ASCEND_ASK(r, AICORE, aicore, &aicore) == DCMI_OK) megahertz[0] = aicore.rated;
  else if (ASCEND_ASK(r, CLOCK_RATED, clock, DCMI_CLOCK_AICORE_RATED, megahertz) != DCMI_OK) megahertz[0] = 0;
  if (megahertz[0] > 0 && megahertz[0] <= 10000) device->max_clock_hertz = megahertz[0] * 1e6;
  read_firmware(r, device);
}

// Everything but the id may come at a later try.
static void identify(struct ascend_session *session, struct ascend_known *known, size_t place) {
  struct ascend_round r = {.session = session, .address = known->address, .asked = &known->asked};
  struct device *device = &known->device;
  bool is_first = known->tries++ == 0;
  if (is_first) {
    *device = (struct device){.index = (int)known->address.logic_id, .numa_node = -1, .node_number = -1};
    device->lanes = device->units = device->max_clock_hertz = NAN;
  }
  if (device->bus_id[0] == '\0') read_bus(&r, device);
  if (is_first && !read_die(&r, device->id, sizeof device->id)) {
    if (device->bus_id[0] != '\0') snprintf(device->id, sizeof device->id, "npu-%.24s", device->bus_id);
    else if (known->address.is_new) snprintf(device->id, sizeof device->id, "npu-%zu", place);
    else snprintf(device->id, sizeof device->id, "npu-%d-%d", known->address.card, known->address.chip);
  }
  device->numa_node = read_numa_node(device->bus_id);
  read_facts(&r, device);
  if (r.code == DCMI_OK) known->tries = MAX_TRIES;
}

// The number that the node in /dev goes by; the logic id where the driver tells that alone.
static int read_node(const struct ascend_session *session, uint32_t logic_id, bool is_told) {
  const struct dcmi *dcmi = &session->dcmi;
  uint32_t physical[4] = {0};
  int (*ask)(uint32_t, uint32_t *) = session->is_new ? dcmi->new_physical_id : dcmi->physical_id;
  if (!is_told) return -1;
  if (ask != NULL && ask(logic_id, physical) == DCMI_OK && physical[0] < 4096) return (int)physical[0];
  return (int)logic_id;
}

// The chip at an address that was not listed before, or NULL when it is none (a management controller, a CPU).
static struct ascend_known *meet(struct listing *l, int32_t card, int32_t chip) {
  struct ascend_session *s = l->session;
  struct ascend_known fresh = {.address = {card, chip, (uint32_t)l->chips, s->is_new}};
  struct ascend_round r = {.session = s, .address = fresh.address, .asked = &fresh.asked};
  int32_t logic_id[4] = {-1};
  bool is_told = s->is_new;
  if (s->is_new) r.address.logic_id = fresh.address.logic_id = (uint32_t)card;
  else if (s->dcmi.logic_id != NULL && s->dcmi.logic_id(logic_id, card, chip) == DCMI_OK)
    is_told = logic_id[0] >= 0 && logic_id[0] < 4096;
  if (!s->is_new && is_told) r.address.logic_id = fresh.address.logic_id = (uint32_t)logic_id[0];
  uint32_t unit[DCMI_ROOM / 4] = {DCMI_UNIT_NPU};
  if (ASCEND_ASK(&r, TYPE, type, unit) == DCMI_OK && unit[0] != DCMI_UNIT_NPU) return NULL;
  struct ascend_known *grown = realloc(s->known, (s->known_count + 1) * sizeof *grown);
  if (grown == NULL) return NULL;
  s->known = grown;
  struct ascend_known *known = &grown[s->known_count];
  *known = fresh;
  identify(s, known, l->chips);
  known->device.node_number = read_node(s, known->address.logic_id, is_told);
  // Ids that are not unique (a copied die) would be one device.
  for (size_t i = 0; i < s->known_count; i++)
    if (strcmp(grown[i].device.id, known->device.id) == 0)
      snprintf(known->device.id, sizeof known->device.id, "npu-%d-%d", card, chip);
  s->known_count++;
  return known;
}

// Parts of a chip.

static struct ascend_extra *extra_new(const struct ascend_known *known) {
  struct ascend_extra *extra = calloc(1, sizeof *extra);
  if (extra == NULL) return NULL;
  extra->address = known->address;
  extra->health = NAN;
  return extra;
}

static void add_part(struct listing *l, struct ascend_round *r, const struct ascend_known *known, uint32_t number,
                     int place) {
  struct dcmi_part part = {.id = number};
  uint32_t size = DCMI_PART_SIZE;
  if (l->count == l->capacity) return;
  struct device *device = &l->devices[l->count];
  struct ascend_extra *extra = extra_new(known);
  if (extra == NULL) return;
  *device = known->device;
  device->serial[0] = device->firmware[0] = '\0';
  // A chip's id is far shorter than it may be.
  snprintf(device->id, sizeof device->id, "%.70s/vnpu-%u", known->device.id, number);
  memcpy(device->parent, known->device.id, sizeof device->parent);
  device->index = place;
  device->node_number = number < 65536 ? (int)number : -1;
  device->units = NAN;
  if (ASCEND_ASK(r, PART, info, DCMI_MAIN_PARTS, DCMI_PARTS_ONE, &part, &size) == DCMI_OK) {
    ascend_text(device->profile, sizeof device->profile, part.name, sizeof part.name);
    float cores = part.resources.aicores;
    if (cores > 0 && cores <= 4096) device->units = (double)cores;
  }
  extra->is_part = true;
  extra->part = number;
  device->extra = extra;
  l->count++;
}

static void add_parts(struct listing *l, struct ascend_known *known) {
  struct dcmi_parts parts = {0};
  uint32_t size = DCMI_PARTS_SIZE;
  struct ascend_round r = {.session = l->session, .address = known->address, .asked = &known->asked};
  if (ASCEND_ASK(&r, PARTS, info, DCMI_MAIN_PARTS, DCMI_PARTS_ALL, &parts, &size) != DCMI_OK) return;
  if (parts.count > DCMI_PARTS) return;
  for (uint32_t i = 0; i < parts.count; i++) {
    bool is_known = false;
    for (uint32_t before = 0; before < i; before++) is_known = is_known || parts.ids[before] == parts.ids[i];
    if (!is_known) add_part(l, &r, known, parts.ids[i], (int)i);
  }
}

// The list.

static void add_chip(struct listing *l, struct ascend_known *known) {
  struct ascend_extra *extra = l->count < l->capacity ? extra_new(known) : NULL;
  if (extra == NULL) return;
  struct device *device = &l->devices[l->count++];
  *device = known->device;
  device->extra = extra;
  l->chips++;
  add_parts(l, known);
}

// How many chips a card has, or a negative code.
static int32_t count_chips(const struct dcmi *dcmi, int32_t card) {
  int32_t count[4] = {0}, mcu[4] = {0}, cpu[4] = {0};
  int code = DCMI_LACKING;
  if (dcmi->chip_numbers != NULL) code = dcmi->chip_numbers(card, count, mcu, cpu);
  if (code != DCMI_OK || count[0] <= 0) {
    count[0] = 0;
    if (dcmi->chip_count != NULL) code = dcmi->chip_count(card, count);
  }
  if (code == DCMI_LACKING) return 1;
  if (code != DCMI_OK) return code;
  return count[0] < 0 ? 0 : count[0] > MAX_CHIPS ? MAX_CHIPS : count[0];
}

static struct ascend_known *find_known(struct ascend_session *s, int32_t card, int32_t chip) {
  for (size_t i = 0; i < s->known_count; i++)
    if (s->known[i].address.card == card && s->known[i].address.chip == chip) return &s->known[i];
  return NULL;
}

static void add_card(struct listing *l, int32_t card) {
  struct ascend_session *s = l->session;
  int32_t count = s->is_new ? 1 : count_chips(&s->dcmi, card);
  if (count == DCMI_INVALID_DEVICE || count == DCMI_DEVICE_ABSENT) return;
  // A card that cannot say how many has those that it had.
  bool is_unsure = count < 0;
  for (int32_t chip = 0; chip < (is_unsure ? MAX_CHIPS : count); chip++) {
    struct ascend_known *known = find_known(s, card, chip);
    if (known != NULL && known->tries < MAX_TRIES) identify(s, known, l->chips);
    if (known == NULL && !is_unsure) known = meet(l, card, chip);
    if (known != NULL) add_chip(l, known);
  }
}

static void remember_places(struct ascend_session *s, const struct device *devices, size_t count) {
  struct ascend_place *places = calloc(count > 0 ? count : 1, sizeof *places);
  size_t filled = 0;
  if (places == NULL) return;
  for (size_t i = 0; i < count; i++) {
    const struct ascend_extra *extra = devices[i].extra;
    if (extra->is_part) continue;
    places[filled].address = extra->address;
    memcpy(places[filled++].id, devices[i].id, sizeof places->id);
  }
  pthread_mutex_lock(&s->lock);
  bool is_same = filled == s->place_count && filled > 0 && memcmp(places, s->places, filled * sizeof *places) == 0;
  struct ascend_place *old = is_same ? places : s->places;
  if (!is_same) {
    s->places = places;
    s->place_count = filled;
    s->places_age++;
  }
  pthread_mutex_unlock(&s->lock);
  free(old);
}

enum outcome ascend_enumerate(void *session, struct device *devices, size_t capacity, size_t *count,
                              struct vendor_report *report) {
  struct ascend_session *s = session;
  struct listing l = {.session = s, .devices = devices, .capacity = capacity};
  int32_t cards[DCMI_CARDS + DCMI_ROOM / 4] = {0}, card_count = 0;
  *count = 0;
  int code = ascend_cards(s, cards, &card_count);
  if (code != DCMI_OK) {
    ascend_problem(report->problem, sizeof report->problem, "list of cards", code);
    if (code == DCMI_NOT_PERMITTED) return OUTCOME_DENIED;
    bool is_passing = code == DCMI_TIMEOUT || code == DCMI_UPGRADING || code == DCMI_OCCUPIED;
    return is_passing ? OUTCOME_FAILED : OUTCOME_VENDOR_LOST;
  }
  for (int32_t i = 0; i < card_count; i++) add_card(&l, cards[i]);
  remember_places(s, devices, l.count);
  *count = l.count;
  return OUTCOME_OK;
}
