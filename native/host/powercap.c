// Energy counters of the CPU packages and their parts (RAPL) from <sys>/class/powercap/intel-rapl:*; AMD's have the
// same names. The counter wraps at max_energy_range_uj; joules count from the first read, watts are joules over the
// time between two ticks. intel-rapl-mmio shows the same counters again and is left out.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

enum { MAX_ZONES = 64 };
#define FOLDER "class/powercap"

// More than any host part draws: a larger step means that the counter started over, not that it wrapped.
static const double MAX_WATTS = 20000;

struct zone {
  struct source file;
  char folder[NAME_SIZE];
  char label[LABEL_SIZE];
  double range;   // µJ at which the counter wraps, 0 = not known
  double last;    // µJ, NaN until read
  int64_t last_ns;
  double joules;  // since the first read; survives generations
  size_t watts_column;
  size_t joules_column;
};

struct powercap {
  const struct roots *roots;
  uint64_t hash;  // of the folder's names at the last scan
  size_t count;
  struct zone zones[MAX_ZONES];
};

static void *powercap_open(const struct roots *roots) {
  struct powercap *s = calloc(1, sizeof *s);
  if (s != NULL) s->roots = roots;
  return s;
}

static void powercap_close(void *state) {
  struct powercap *s = state;
  for (size_t i = 0; i < s->count; i++) source_close(&s->zones[i].file);
  free(s);
}

static bool read_name(const struct powercap *s, const char *folder, char *name, size_t size) {
  char path[NAME_SIZE + 32], memory[NAME_SIZE];
  int error;
  snprintf(path, sizeof path, FOLDER "/%s/name", folder);
  struct text text = file_text(s->roots->sys, path, memory, sizeof memory, &error), word;
  if (text.at == NULL || !text_word(&text, &word)) return false;
  text_label(name, size, word);
  return true;
}

// `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it: "rapl:package-0", "rapl:package-0/dram".
static void name_zone(const struct powercap *s, struct zone *zone) {
  char parent[NAME_SIZE], own[NAME_SIZE / 2], above[NAME_SIZE / 2];
  snprintf(parent, sizeof parent, "%s", zone->folder);
  char *last = strrchr(parent, ':');
  bool is_part = last != NULL && last != strchr(parent, ':');
  if (is_part) *last = '\0';
  if (!read_name(s, zone->folder, own, sizeof own)) snprintf(own, sizeof own, "%.*s", (int)sizeof own - 1, zone->folder);
  if (is_part && read_name(s, parent, above, sizeof above)) snprintf(zone->label, LABEL_SIZE, "rapl:%s/%s", above, own);
  else snprintf(zone->label, LABEL_SIZE, "rapl:%s", own);
}

static void open_zone(const struct powercap *s, struct zone *zone, const char *folder) {
  char path[NAME_SIZE + 40];
  struct source range;
  memset(zone, 0, sizeof *zone);
  snprintf(zone->folder, sizeof zone->folder, "%s", folder);
  snprintf(path, sizeof path, FOLDER "/%s/energy_uj", folder);
  source_open(&zone->file, s->roots->sys, path);
  snprintf(path, sizeof path, FOLDER "/%s/max_energy_range_uj", folder);
  source_open(&range, s->roots->sys, path);
  if (!source_number(&range, &zone->range) || !(zone->range > 0)) zone->range = 0;
  source_close(&range);
  zone->last = NAN;
  name_zone(s, zone);
}

static void powercap_scan(void *state, bool force) {
  struct powercap *s = state;
  char names[2 * MAX_ZONES][NAME_SIZE];
  size_t count = folder_names(s->roots->sys, FOLDER, "intel-rapl:", names, 2 * MAX_ZONES);
  uint64_t hash = 1;
  for (size_t i = 0; i < count; i++) hash = hash_text(hash, names[i]);
  if (hash == s->hash && !force) return;
  s->hash = hash;
  struct zone old[MAX_ZONES];
  size_t old_count = s->count;
  memcpy(old, s->zones, sizeof old);
  s->count = 0;
  for (size_t i = 0; i < count && s->count < MAX_ZONES; i++) {
    struct zone *zone = &s->zones[s->count];
    open_zone(s, zone, names[i]);
    // A zone without a counter (only limits) is no source; one that we may not read is.
    if (zone->file.error == ENOENT) continue;
    s->count++;
    for (size_t o = 0; o < old_count; o++) {
      if (strcmp(old[o].label, zone->label) != 0) continue;
      zone->joules = old[o].joules;
      zone->last = old[o].last;
      zone->last_ns = old[o].last_ns;
    }
  }
  for (size_t o = 0; o < old_count; o++) source_close(&old[o].file);
}

static void powercap_announce(void *state, struct row *row) {
  struct powercap *s = state;
  for (size_t i = 0; i < s->count; i++) {
    char label[LABEL_SIZE];
    memcpy(label, s->zones[i].label, sizeof label);
    row_unique_label(row, POWER_WATTS, label);
    s->zones[i].watts_column = row_add(row, POWER_WATTS, label);
    s->zones[i].joules_column = row_add(row, POWER_ENERGY_JOULES_TOTAL, label);
  }
}

// µJ from `last` to `now`; 0 where the counter started over.
static double energy_step(const struct zone *zone, double now, double elapsed) {
  double step = now - zone->last;
  if (step < 0 && zone->last <= zone->range) step += zone->range;
  return step >= 0 && step <= MAX_WATTS * 1e6 * elapsed ? step : 0;
}

// Hot: every tick.
static void powercap_read(void *state, struct row *row, const struct tick *tick) {
  struct powercap *s = state;
  for (size_t i = 0; i < s->count; i++) {
    struct zone *zone = &s->zones[i];
    double now;
    if (!source_number(&zone->file, &now) || now < 0) {
      enum reason reason = zone->file.error == 0 ? ERROR : reason_of_errno(zone->file.error);
      row_absent(row, zone->watts_column, reason);
      row_absent(row, zone->joules_column, reason);
      if (reason == LOST) row->stale = true;
      continue;
    }
    bool first = isnan(zone->last);
    double elapsed = (double)(tick->now_ns - zone->last_ns) / 1e9;
    double step = first ? 0 : energy_step(zone, now, elapsed);
    zone->last = now;
    zone->last_ns = tick->now_ns;
    zone->joules += step / 1e6;
    row_set(row, zone->joules_column, zone->joules);
    if (first) row_absent(row, zone->watts_column, NOT_YET);
    else if (elapsed > 0) row_set(row, zone->watts_column, step / 1e6 / elapsed);
  }
}

const struct part powercap_part = {"powercap",        powercap_open, powercap_scan,
                                   powercap_announce, powercap_read, powercap_close};
