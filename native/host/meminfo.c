// Memory from <proc>/meminfo.
#include <stdlib.h>

#include "host.h"

enum { TOTAL, FREE, AVAILABLE, BUFFERS, CACHED, SWAP_TOTAL, SWAP_FREE, FIELDS };
static const struct {
  const char *key;
  enum family family;
} fields[FIELDS] = {
    // In the order of the kernel, so that the next key is nearly always the expected one.
    {"MemTotal:", MEMORY_TOTAL_BYTES},    {"MemFree:", MEMORY_FREE_BYTES},
    {"MemAvailable:", MEMORY_AVAILABLE_BYTES}, {"Buffers:", MEMORY_BUFFERS_BYTES},
    {"Cached:", MEMORY_CACHED_BYTES},     {"SwapTotal:", MEMORY_SWAP_TOTAL_BYTES},
    {"SwapFree:", MEMORY_SWAP_FREE_BYTES},
};

struct meminfo {
  const struct roots *roots;
  struct source file;
  size_t first;
  size_t used;
};

static void *meminfo_open(const struct roots *roots) {
  struct meminfo *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  source_open(&s->file, roots->proc, "meminfo");
  return s;
}

static void meminfo_close(void *state) {
  struct meminfo *s = state;
  source_close(&s->file);
  free(s);
}

static void meminfo_scan(void *state, bool force) {
  (void)force;
  struct meminfo *s = state;
  source_retry(&s->file, s->roots->proc, "meminfo");
}

static void meminfo_announce(void *state, struct row *row) {
  struct meminfo *s = state;
  for (size_t i = 0; i < FIELDS; i++) {
    size_t column = row_add(row, fields[i].family, "");
    if (i == 0) s->first = column;
  }
  s->used = row_add(row, MEMORY_USED_BYTES, "");
}

// Takes one line; the index of its field, or FIELDS.
static size_t take_field(struct text line, size_t expected, double *bytes) {
  for (size_t n = 0; n < FIELDS; n++) {
    size_t i = (expected + n) % FIELDS;
    struct text rest = line, unit;
    if (!text_take(&rest, fields[i].key)) continue;
    uint64_t value;
    if (!text_u64(&rest, &value)) return FIELDS;
    bool kilo = text_word(&rest, &unit) && text_equals(unit, "kB");
    *bytes = (double)value * (kilo ? 1024 : 1);
    return i;
  }
  return FIELDS;
}

// Hot: every tick.
static void meminfo_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct meminfo *s = state;
  struct text text = source_read(&s->file, s->roots), line;
  // A field that an old kernel does not have is unsupported; a text without its first field is no meminfo at all.
  row_absent_range(row, s->first, FIELDS + 1, text.at == NULL ? reason_of_errno(s->file.error) : UNSUPPORTED);
  if (text.at == NULL) return;
  size_t found = 0;
  for (size_t expected = 0; found < FIELDS && text_line(&text, &line);) {
    double bytes;
    size_t i = take_field(line, expected, &bytes);
    if (i == FIELDS || row->reasons[s->first + i] == PRESENT) continue;
    row_set(row, s->first + i, bytes);
    found++;
    expected = (i + 1) % FIELDS;
  }
  double total = row->values[s->first + TOTAL], available = row->values[s->first + AVAILABLE];
  if (isnan(total)) row_absent_range(row, s->first, FIELDS + 1, ERROR);
  else if (!isnan(available)) row_set(row, s->used, total > available ? total - available : 0);
}

const struct part meminfo_part = {"meminfo",        meminfo_open, meminfo_scan,
                                  meminfo_announce, meminfo_read, meminfo_close};
