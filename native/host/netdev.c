// Network interfaces from <proc>/net/dev, their nominal rate from <sys>/class/net/NAME/speed. Interfaces that come
// and go with containers are left out, so that starting one does not change the columns.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "names.h"

enum { MAX_INTERFACES = 64 };

// Position among the 16 numbers of a line, in the order of the columns.
enum { COUNTERS = 8, COLUMNS = COUNTERS + 1, SPEED = COUNTERS, FIELDS = 16 };
static const struct {
  enum family family;
  size_t field;
} counters[COUNTERS] = {
    {NETWORK_RECEIVE_BYTES_TOTAL, 0},   {NETWORK_TRANSMIT_BYTES_TOTAL, 8},   {NETWORK_RECEIVE_PACKETS_TOTAL, 1},
    {NETWORK_TRANSMIT_PACKETS_TOTAL, 9}, {NETWORK_RECEIVE_ERRORS_TOTAL, 2},   {NETWORK_TRANSMIT_ERRORS_TOTAL, 10},
    {NETWORK_RECEIVE_DROPS_TOTAL, 3},   {NETWORK_TRANSMIT_DROPS_TOTAL, 11},
};

struct netdev {
  const struct roots *roots;
  struct source file;
  struct names names;
  double speeds[MAX_NAMES];  // bytes per second, NaN = not known; by entry of `names`
  enum reason speed_reasons[MAX_NAMES];
};

static void *netdev_open(const struct roots *roots) {
  struct netdev *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  source_open(&s->file, roots->proc, "net/dev");
  return s;
}

static void netdev_close(void *state) {
  struct netdev *s = state;
  source_close(&s->file);
  free(s);
}

// `  eth0: 1 2 …`, in old kernels without the blank; takes it up to the numbers. The two lines of heading have no
// colon.
static bool take_name(struct text *line, struct text *name) {
  text_skip_blanks(line);
  const char *colon = memchr(line->at, ':', text_length(*line));
  if (colon == NULL) return false;
  *name = (struct text){line->at, colon};
  line->at = colon + 1;
  return text_length(*name) > 0;
}

static bool begins_with_and_hex(const char *name, const char *prefix, size_t digits) {
  size_t length = strlen(prefix);
  if (strncmp(name, prefix, length) != 0 || strlen(name) != length + digits) return false;
  for (const char *c = name + length; *c != '\0'; c++)
    if (!isxdigit((unsigned char)*c)) return false;
  return true;
}

// Pairs to containers (docker, podman, calico) and the bridges that docker makes per network.
static bool is_ephemeral(const char *name) {
  return strncmp(name, "veth", 4) == 0 || strncmp(name, "docker", 6) == 0 || begins_with_and_hex(name, "br-", 12) ||
         begins_with_and_hex(name, "cali", 11);
}

static void read_speed(struct netdev *s, size_t i) {
  char path[NAME_SIZE + 24], memory[64];
  double megabits;
  int error;
  snprintf(path, sizeof path, "class/net/%s/speed", s->names.entries[i].name);
  s->speeds[i] = NAN;
  s->speed_reasons[i] = UNSUPPORTED;
  // A hostile copy of /proc may name an interface `../..`; the kernel allows no slash in one.
  if (strchr(s->names.entries[i].name, '/') != NULL) return;
  struct text text = file_text(s->roots->sys, path, memory, sizeof memory, &error);
  if (text.at == NULL) s->speed_reasons[i] = reason_of_errno(error);
  else if (!text_decimal(&text, &megabits)) s->speed_reasons[i] = ERROR;
  else if (megabits > 0 && megabits < UINT32_MAX) s->speeds[i] = megabits * 1e6 / 8;  // -1: not known
}

static void netdev_scan(void *state, bool force) {
  (void)force;
  struct netdev *s = state;
  source_retry(&s->file, s->roots->proc, "net/dev");
  struct text text = source_read(&s->file, s->roots), line;
  if (text.at == NULL) return;
  names_clear(&s->names);
  for (size_t chosen = 0; text_line(&text, &line);) {
    struct text name;
    struct name *entry = take_name(&line, &name) ? names_add(&s->names, name) : NULL;
    if (entry == NULL) continue;
    if (chosen == MAX_INTERFACES || is_ephemeral(entry->name)) continue;
    entry->column = 0;
    chosen++;
  }
  for (size_t i = 0; i < s->names.count; i++)
    if (s->names.entries[i].column != NAME_LEFT_OUT) read_speed(s, i);
}

static void netdev_announce(void *state, struct row *row) {
  struct netdev *s = state;
  for (size_t i = 0; i < s->names.count; i++) {
    struct name *entry = &s->names.entries[i];
    if (entry->column == NAME_LEFT_OUT) continue;
    char label[LABEL_SIZE];
    text_label(label, sizeof label, (struct text){entry->name, entry->name + entry->length});
    row_unique_label(row, NETWORK_SPEED, label);
    entry->column = (int32_t)row->count;
    for (size_t c = 0; c < COUNTERS; c++) row_add(row, counters[c].family, label);
    row_add(row, NETWORK_SPEED, label);
  }
}

// Hot: every tick and interface.
static void read_interface(struct netdev *s, struct name *entry, struct text *line, struct row *row) {
  size_t column = (size_t)entry->column, i = (size_t)(entry - s->names.entries), found = 0;
  uint64_t field[FIELDS];
  while (found < FIELDS && text_u64(line, &field[found])) found++;
  if (found < FIELDS) row_absent_range(row, column, COUNTERS, ERROR);
  else
    for (size_t c = 0; c < COUNTERS; c++) row_set(row, column + c, (double)field[counters[c].field]);
  if (isnan(s->speeds[i])) row_absent(row, column + SPEED, s->speed_reasons[i]);
  else row_set(row, column + SPEED, s->speeds[i]);
}

// Hot: every tick.
static void netdev_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct netdev *s = state;
  struct text text = source_read(&s->file, s->roots), line, name;
  if (text.at == NULL) {
    for (size_t i = 0; i < s->names.count; i++)
      if (s->names.entries[i].column != NAME_LEFT_OUT)
        row_absent_range(row, (size_t)s->names.entries[i].column, COLUMNS, reason_of_errno(s->file.error));
    return;
  }
  names_start_round(&s->names);
  while (text_line(&text, &line)) {
    if (!take_name(&line, &name)) continue;
    struct name *entry = names_find(&s->names, name);
    if (entry == NULL) {
      if (names_is_news(&s->names, name)) row->stale = true;
    } else if (entry->column != NAME_LEFT_OUT && entry->seen != s->names.round) {
      entry->seen = s->names.round;
      read_interface(s, entry, &line, row);
    }
  }
  names_mark_lost(&s->names, row, COLUMNS);
}

const struct part netdev_part = {"netdev", netdev_open, netdev_scan, netdev_announce, netdev_read, netdev_close};
