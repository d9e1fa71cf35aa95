// Load averages from <proc>/loadavg.
#include <stdlib.h>

#include "host.h"

struct loadavg {
  const struct roots *roots;
  struct source file;
  size_t first;
};

static void *loadavg_open(const struct roots *roots) {
  struct loadavg *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  source_open(&s->file, roots->proc, "loadavg");
  return s;
}

static void loadavg_close(void *state) {
  struct loadavg *s = state;
  source_close(&s->file);
  free(s);
}

static void loadavg_scan(void *state, bool force) {
  (void)force;
  struct loadavg *s = state;
  source_retry(&s->file, s->roots->proc, "loadavg");
}

static void loadavg_announce(void *state, struct row *row) {
  struct loadavg *s = state;
  s->first = row_add(row, CPU_LOAD1, "");
  row_add(row, CPU_LOAD5, "");
  row_add(row, CPU_LOAD15, "");
}

// Hot: every tick.
static void loadavg_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct loadavg *s = state;
  struct text text = source_read(&s->file, s->roots);
  row_absent_range(row, s->first, 3, text.at == NULL ? reason_of_errno(s->file.error) : ERROR);
  double value;
  for (size_t i = 0; i < 3 && text_decimal(&text, &value) && value >= 0; i++) row_set(row, s->first + i, value);
}

const struct part loadavg_part = {"loadavg",        loadavg_open, loadavg_scan,
                                  loadavg_announce, loadavg_read, loadavg_close};
