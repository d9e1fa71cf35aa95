// What seldom changes or costs much: ECC, processes, network health, rated power, topology, and health once more, for
// this is what is read at once after an event.
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#include "ascend.h"

// Pairs of chips asked for in one read, so that a read stays short: 64 chips are known after two minutes.
enum { TOPOLOGY_STEP = 8, KIND_UNKNOWN = -1 };

static void read_ecc(struct ascend_round *r) {
  struct dcmi_ecc ecc = {0};
  // Older libraries do not write these two: this is how one can tell.
  ecc.single_pending = ecc.twofold_pending = UINT32_MAX;
  bool is_ddr = r->extra->memory == MEMORY_DDR;
  enum ascend_ask ask = is_ddr ? ASK_ECC_DDR : ASK_ECC_HBM;
  int code = is_ddr ? ASCEND_ASK(r, ECC_DDR, ecc, DCMI_ECC_DDR, &ecc) : ASCEND_ASK(r, ECC_HBM, ecc, DCMI_ECC_HBM, &ecc);
  // A chip whose ECC is off counts nothing: that is no zero.
  bool is_zero = (ecc.single | ecc.twofold | ecc.single_total | ecc.twofold_total) == 0;
  if (code == DCMI_OK && ecc.enabled == 0 && is_zero) code = DCMI_LACKING;
  ascend_set(r, NUMBER_ECC_CORRECTED, ask, code, ecc.single_total, 1, 0, UINT32_MAX - 1);
  ascend_set(r, NUMBER_ECC_UNCORRECTED, ask, code, ecc.twofold_total, 1, 0, UINT32_MAX - 1);
  double *signals = r->sample->signals;
  bool is_told = code == DCMI_OK && ecc.twofold < INT32_MAX;
  signals[SIGNAL_ECC_UNCORRECTED_VOLATILE] = is_told ? (double)ecc.twofold : NAN;
  bool has_pending = code == DCMI_OK && ecc.single_pending < INT32_MAX && ecc.twofold_pending < INT32_MAX;
  signals[SIGNAL_PAGES_PENDING] = has_pending ? (double)ecc.single_pending + ecc.twofold_pending : NAN;
}

static void read_processes(struct ascend_round *r) {
  struct sample *sample = r->sample;
  struct dcmi_process *list = calloc(DCMI_PROCESSES, sizeof *list);
  // Output, by the headers; a library that takes it for the room gets the truth.
  int32_t count[4] = {DCMI_PROCESSES};
  if (list == NULL) {
    sample->processes_reason = ERROR;
    return;
  }
  int code = ASCEND_ASK(r, PROCESSES, processes, list, count);
  sample->processes_reason = ascend_reason(r, ASK_PROCESSES, code);
  sample->process_count = 0;
  for (int32_t i = 0; code == DCMI_OK && i < count[0] && i < DCMI_PROCESSES; i++) {
    if (list[i].pid <= 0 || sample->process_count == MAX_PROCESSES) continue;
    struct process *process = &sample->processes[sample->process_count++];
    process->pid = (uint32_t)list[i].pid;
    process->memory_bytes = list[i].bytes < (uint64_t)1 << 52 ? (double)list[i].bytes : NAN;
  }
  free(list);
}

static void read_network(struct ascend_round *r) {
  uint32_t health[4] = {0};
  int code = ASCEND_ASK(r, NETWORK, network, health);
  r->sample->signals[SIGNAL_NETWORK_HEALTH] = code == DCMI_OK && health[0] < 64 ? (double)health[0] : NAN;
}

static void read_rating(struct ascend_round *r) {
  struct dcmi_rating rating = {0};
  uint32_t size = DCMI_RATING_SIZE;
  int code = ASCEND_ASK(r, RATING, info, DCMI_MAIN_LOW_POWER, DCMI_LOW_POWER_RATING, &rating, &size);
  ascend_set(r, NUMBER_POWER_LIMIT, ASK_RATING, code, rating.milliwatts, 0.001, 1000, 5000000);
}

// Topology.

// As the vendor's tool says it: buses of its own in lower case, paths over PCIe in capitals.
static const char *name_of(int kind) {
  static const char *const names[] = {NULL, "SYS", "PHB", "hccs", "PXB", "PIX", "sio", "hccs_sw", "ub"};
  return kind > DCMI_TOPOLOGY_SELF && kind < DCMI_TOPOLOGY_UNKNOWN ? names[kind] : NULL;
}

// The place that comes `at` among the others; false beyond the last. `is_old` when the places have changed.
static bool find_other(struct ascend_round *r, size_t at, struct ascend_place *place, bool *is_old) {
  struct ascend_session *s = r->session;
  bool is_found = false;
  pthread_mutex_lock(&s->lock);
  *is_old = s->places_age != r->extra->places_age;
  r->extra->places_age = s->places_age;
  for (size_t i = 0, other = 0; i < s->place_count && !is_found; i++) {
    const struct ascend_address *address = &s->places[i].address;
    if (address->card == r->address.card && address->chip == r->address.chip) continue;
    if (other++ != at) continue;
    *place = s->places[i];
    is_found = true;
  }
  pthread_mutex_unlock(&s->lock);
  return is_found;
}

static void ask_topology(struct ascend_round *r) {
  struct ascend_extra *extra = r->extra;
  int (*ask)(int32_t, int32_t, int32_t, int32_t, int32_t *) = r->session->dcmi.topology;
  struct ascend_place other;
  bool is_old;
  for (int step = 0; step < TOPOLOGY_STEP && extra->places_asked < MAX_LINKS; step++) {
    bool is_found = find_other(r, extra->places_asked, &other, &is_old);
    if (is_old) {
      extra->places_asked = 0;
      is_found = find_other(r, 0, &other, &is_old);
    }
    if (!is_found) return;
    int32_t kind[4] = {KIND_UNKNOWN};
    int code = (extra->asked.dropped >> ASK_TOPOLOGY & 1) != 0 ? DCMI_LACKING
               : ask(r->address.card, r->address.chip, other.address.card, other.address.chip, kind);
    ascend_note(r, ASK_TOPOLOGY, "topology", code);
    bool is_told = code == DCMI_OK && name_of(kind[0]) != NULL;
    // What may be had later is asked for again.
    if (code != DCMI_OK && ascend_reason(r, ASK_TOPOLOGY, code) != UNSUPPORTED) return;
    extra->kinds[extra->places_asked++] = is_told ? (int8_t)kind[0] : KIND_UNKNOWN;
  }
}

static void read_topology(struct ascend_round *r) {
  struct sample *sample = r->sample;
  struct ascend_place other;
  bool is_old = false;
  if (r->session->dcmi.topology == NULL || r->address.is_new) return;
  ask_topology(r);
  sample->link_count = 0;
  for (size_t at = 0; at < r->extra->places_asked && find_other(r, at, &other, &is_old) && !is_old; at++) {
    if (r->extra->kinds[at] == KIND_UNKNOWN) continue;
    struct link *link = &sample->links[sample->link_count++];
    *link = (struct link){.count = 1, .up = -1};
    snprintf(link->kind, sizeof link->kind, "%s", name_of(r->extra->kinds[at]));
    memcpy(link->peer, other.id, sizeof other.id);
  }
  // They changed between the two: begin anew at the next read.
  if (is_old) r->extra->places_asked = 0;
}

void ascend_read_slow(struct ascend_round *r) {
  ascend_read_health(r, true);
  read_ecc(r);
  read_processes(r);
  read_network(r);
  read_rating(r);
  read_topology(r);
  sample_absent(r->sample, NUMBER_ENERGY, UNSUPPORTED);  // no counter exists: power is integrated
}
