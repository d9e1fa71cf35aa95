// Hardware monitors from <sys>/class/hwmon: temperatures, fans, power and energy meters.
//
// Asking a sensor may take milliseconds (I2C, a management controller), so each is asked on its own schedule: at most
// once per slow period, and so seldom that it takes a thousandth of the time at most. Between two readings the value
// stands. Meters of power without an energy counter are summed up here.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "host.h"

enum { MAX_CHIPS = 128, MAX_SENSORS = 128, MAX_FILES = 1024 };
#define FOLDER "class/hwmon"

static const int64_t COST_FACTOR = 1000, MAX_WAIT_NS = 60000000000;

enum sensor_kind { TEMPERATURE, FAN, POWER, ENERGY };

struct sensor {
  enum sensor_kind kind;
  struct source file;
  char label[LABEL_SIZE];
  int64_t next_ns;  // when to ask again; 0 = at once
  bool has_value;
  bool has_energy;   // a power meter with an energy counter of the same name
  double value;      // of the last reading, in the column's unit; energy: µJ
  enum reason reason;
  double joules;     // since the first reading; survives generations
  size_t column;
  size_t joules_column;
};

struct chip {
  char folder[NAME_SIZE];
  char name[NAME_SIZE];
};

struct hwmon {
  const struct roots *roots;
  uint64_t hash;  // of the chips at the last scan
  size_t count;
  struct sensor sensors[MAX_SENSORS];
  size_t old_count;
  struct sensor old[MAX_SENSORS];
  struct chip chips[MAX_CHIPS];
  char names[MAX_FILES][NAME_SIZE];  // for the scan alone
};

static void *hwmon_open(const struct roots *roots) {
  struct hwmon *s = calloc(1, sizeof *s);
  if (s != NULL) s->roots = roots;
  return s;
}

static void hwmon_close(void *state) {
  struct hwmon *s = state;
  for (size_t i = 0; i < s->count; i++) source_close(&s->sensors[i].file);
  free(s);
}

// The one-line text of a file of a chip; false when there is none.
static bool read_text(const struct hwmon *s, const char *folder, const char *file, char *text, size_t size) {
  char path[3 * NAME_SIZE], memory[2 * NAME_SIZE];
  int error;
  snprintf(path, sizeof path, FOLDER "/%s/%s", folder, file);
  struct text all = file_text(s->roots->sys, path, memory, sizeof memory, &error), line;
  if (all.at == NULL || !text_line(&all, &line) || text_length(line) == 0) return false;
  text_label(text, size, line);
  return true;
}

static size_t find_chips(struct hwmon *s, uint64_t *hash) {
  char folders[MAX_CHIPS][NAME_SIZE];
  size_t count = folder_names(s->roots->sys, FOLDER, "hwmon", folders, MAX_CHIPS);
  *hash = 1;
  for (size_t i = 0; i < count; i++) {
    struct chip *chip = &s->chips[i];
    memcpy(chip->folder, folders[i], sizeof chip->folder);
    if (!read_text(s, chip->folder, "name", chip->name, sizeof chip->name))
      snprintf(chip->name, sizeof chip->name, "%s", chip->folder);
    *hash = hash_text(hash_text(*hash, chip->folder), chip->name);
  }
  return count;
}

// Two chips of one name (two disks, two sockets) are told apart by their device, whose name outlives a restart; the
// number of hwmonN does not.
static void name_chip(const struct hwmon *s, size_t count, size_t chip, char *name, size_t size) {
  snprintf(name, size, "%s", s->chips[chip].name);
  for (size_t i = 0; i < count; i++) {
    if (i == chip || strcmp(s->chips[i].name, s->chips[chip].name) != 0) continue;
    char path[2 * NAME_SIZE], device[NAME_SIZE];
    snprintf(path, sizeof path, FOLDER "/%s/device", s->chips[chip].folder);
    if (!link_base(s->roots->sys, path, device, sizeof device))
      snprintf(device, sizeof device, "%s", s->chips[chip].folder);
    snprintf(name, size, "%s-%s", s->chips[chip].name, device);
    return;
  }
}

// `temp12_input`: kind and stem ("temp12"). power has `_average` or `_input`; the average comes first in the order.
static bool take_kind(const char *file, enum sensor_kind *kind, char *stem, size_t size) {
  static const char *const words[] = {"temp", "fan", "power", "energy"};
  for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
    struct text text = {file, file + strlen(file)};
    uint64_t number;
    if (!text_take(&text, words[k]) || !text_digits(&text, &number)) continue;
    if (!text_equals(text, "_input") && !(k == POWER && text_equals(text, "_average"))) continue;
    *kind = (enum sensor_kind)k;
    text_label(stem, size, (struct text){file, text.at});
    return true;
  }
  return false;
}

static void add_sensor(struct hwmon *s, const char *chip, const char *folder, const char *file) {
  char stem[NAME_SIZE], label_file[NAME_SIZE + 8], label[NAME_SIZE], path[3 * NAME_SIZE];
  struct sensor *sensor = &s->sensors[s->count];
  memset(sensor, 0, sizeof *sensor);
  if (s->count == MAX_SENSORS - 1 || !take_kind(file, &sensor->kind, stem, sizeof stem)) return;
  snprintf(label_file, sizeof label_file, "%s_label", stem);
  if (!read_text(s, folder, label_file, label, sizeof label)) snprintf(label, sizeof label, "%s", stem);
  bool is_power = sensor->kind == POWER || sensor->kind == ENERGY;
  snprintf(sensor->label, sizeof sensor->label, "%s%.*s/%.*s", is_power ? "hwmon:" : "", 48, chip, 40, label);
  snprintf(path, sizeof path, FOLDER "/%s/%s", folder, file);
  source_open(&sensor->file, s->roots->sys, path);
  sensor->reason = NOT_YET;
  s->count++;
}

static void scan_chip(struct hwmon *s, const char *chip, const char *folder) {
  char path[2 * NAME_SIZE], last[NAME_SIZE] = "";
  snprintf(path, sizeof path, FOLDER "/%s", folder);
  size_t count = folder_names(s->roots->sys, path, "", s->names, MAX_FILES);
  for (size_t i = 0; i < count; i++) {
    enum sensor_kind kind;
    char stem[NAME_SIZE];
    if (!take_kind(s->names[i], &kind, stem, sizeof stem)) continue;
    if (strcmp(stem, last) == 0) continue;  // power1_average and power1_input
    memcpy(last, stem, sizeof last);
    add_sensor(s, chip, folder, s->names[i]);
  }
}

// Sums and values of sensors that were there before go on.
static void carry_over(struct hwmon *s) {
  for (size_t i = 0; i < s->count; i++) {
    for (size_t o = 0; o < s->old_count; o++) {
      const struct sensor *old = &s->old[o];
      if (old->kind != s->sensors[i].kind || strcmp(old->label, s->sensors[i].label) != 0) continue;
      s->sensors[i].joules = old->joules;
      s->sensors[i].has_value = old->has_value;
      s->sensors[i].value = old->value;
    }
  }
}

static void hwmon_scan(void *state, bool force) {
  struct hwmon *s = state;
  uint64_t hash;
  size_t chips = find_chips(s, &hash);
  if (hash == s->hash && !force) return;
  s->hash = hash;
  memcpy(s->old, s->sensors, sizeof s->old);
  s->old_count = s->count;
  s->count = 0;
  for (size_t i = 0; i < chips; i++) {
    char name[2 * NAME_SIZE + 1];
    name_chip(s, chips, i, name, sizeof name);
    scan_chip(s, name, s->chips[i].folder);
  }
  carry_over(s);
  for (size_t o = 0; o < s->old_count; o++) source_close(&s->old[o].file);
}

static bool has_energy(const struct hwmon *s, const struct sensor *power) {
  for (size_t i = 0; i < s->count; i++)
    if (s->sensors[i].kind == ENERGY && strcmp(s->sensors[i].label, power->label) == 0) return true;
  return false;
}

static void hwmon_announce(void *state, struct row *row) {
  static const enum family families[] = {SENSOR_TEMPERATURE_CELSIUS, SENSOR_FAN_RPM, POWER_WATTS,
                                         POWER_ENERGY_JOULES_TOTAL};
  struct hwmon *s = state;
  for (size_t i = 0; i < s->count; i++) {
    struct sensor *sensor = &s->sensors[i];
    char label[LABEL_SIZE];
    memcpy(label, sensor->label, sizeof label);
    row_unique_label(row, families[sensor->kind], label);
    sensor->column = row_add(row, families[sensor->kind], label);
    sensor->has_energy = has_energy(s, sensor);
    if (sensor->kind != POWER || sensor->has_energy) continue;
    memcpy(label, sensor->label, sizeof label);
    row_unique_label(row, POWER_ENERGY_JOULES_TOTAL, label);
    sensor->joules_column = row_add(row, POWER_ENERGY_JOULES_TOTAL, label);
  }
}

static int64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// Asks the sensor and sets when to ask it again.
static void ask(struct sensor *sensor, size_t index, size_t count, const struct tick *tick) {
  static const double scale[] = {1e-3, 1, 1e-6, 1};
  int64_t start_ns = monotonic_ns();
  double raw, before = sensor->value;
  bool had_value = sensor->has_value;
  sensor->has_value = source_number(&sensor->file, &raw) && (sensor->kind == TEMPERATURE || raw >= 0);
  if (sensor->has_value) {
    sensor->value = raw * scale[sensor->kind];
    // A counter that went back started over.
    if (sensor->kind == ENERGY && had_value && raw > before) sensor->joules += (raw - before) / 1e6;
  } else {
    sensor->reason = sensor->file.error == 0 ? ERROR : reason_of_errno(sensor->file.error);
  }
  int64_t cost_ns = monotonic_ns() - start_ns;
  int64_t wait_ns = tick->slow_ns > cost_ns * COST_FACTOR ? tick->slow_ns : cost_ns * COST_FACTOR;
  if (wait_ns > MAX_WAIT_NS) wait_ns = MAX_WAIT_NS;
  // After the first reading they spread over the period, so that no tick asks them all.
  if (sensor->next_ns == 0 && count > 0) wait_ns = wait_ns * (int64_t)(index + 1) / (int64_t)count;
  sensor->next_ns = tick->now_ns + wait_ns;
}

// Hot: every tick.
static void hwmon_read(void *state, struct row *row, const struct tick *tick) {
  struct hwmon *s = state;
  for (size_t i = 0; i < s->count; i++) {
    struct sensor *sensor = &s->sensors[i];
    if (tick->now_ns >= sensor->next_ns) ask(sensor, i, s->count, tick);
    bool sums = sensor->kind == POWER && !sensor->has_energy;
    if (!sensor->has_value) {
      row_absent(row, sensor->column, sensor->reason);
      if (sums) row_absent(row, sensor->joules_column, sensor->reason);
      if (sensor->reason == LOST) row->stale = true;
      continue;
    }
    row_set(row, sensor->column, sensor->kind == ENERGY ? sensor->joules : sensor->value);
    if (!sums) continue;
    sensor->joules += sensor->value * tick->elapsed;
    row_set(row, sensor->joules_column, sensor->joules);
  }
}

const struct part hwmon_part = {"hwmon", hwmon_open, hwmon_scan, hwmon_announce, hwmon_read, hwmon_close};
