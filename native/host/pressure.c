// Pressure stall information from <proc>/pressure/{cpu,memory,io}: the totals, in seconds.
#include <stdlib.h>

#include "host.h"

enum { RESOURCES = 3 };
static const char *const resources[RESOURCES] = {"cpu", "memory", "io"};
static const char *const paths[RESOURCES] = {"pressure/cpu", "pressure/memory", "pressure/io"};

struct pressure {
  const struct roots *roots;
  struct source files[RESOURCES];
  bool idle[RESOURCES];  // the kernel said that it does not measure; asked again by the next scan
  size_t first;          // waiting and stalled of each resource in turn
};

static void *pressure_open(const struct roots *roots) {
  struct pressure *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  for (size_t i = 0; i < RESOURCES; i++) source_open(&s->files[i], roots->proc, paths[i]);
  return s;
}

static void pressure_close(void *state) {
  struct pressure *s = state;
  for (size_t i = 0; i < RESOURCES; i++) source_close(&s->files[i]);
  free(s);
}

static void pressure_scan(void *state, bool force) {
  (void)force;
  struct pressure *s = state;
  for (size_t i = 0; i < RESOURCES; i++) {
    source_retry(&s->files[i], s->roots->proc, paths[i]);
    s->idle[i] = false;
  }
}

static void pressure_announce(void *state, struct row *row) {
  struct pressure *s = state;
  s->first = row->count;
  for (size_t i = 0; i < RESOURCES; i++) {
    row_add(row, PRESSURE_WAITING_SECONDS_TOTAL, resources[i]);
    row_add(row, PRESSURE_STALLED_SECONDS_TOTAL, resources[i]);
  }
}

// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, in microseconds.
static bool take_total(struct text *line, double *seconds) {
  struct text word;
  while (text_word(line, &word)) {
    uint64_t micros;
    if (!text_take(&word, "total=") || !text_digits(&word, &micros) || word.at != word.end) continue;
    *seconds = (double)micros / 1e6;
    return true;
  }
  return false;
}

static void read_resource(struct pressure *s, size_t i, struct row *row) {
  size_t column = s->first + 2 * i;
  struct text text = source_read(&s->files[i], s->roots), line;
  if (text.at == NULL) {
    enum reason reason = reason_of_errno(s->files[i].error);
    row_absent_range(row, column, 2, reason);
    s->idle[i] = reason == UNSUPPORTED || reason == DENIED;
    return;
  }
  // Kernels before 5.13 have no `full` line for the CPU.
  row_absent(row, column, ERROR);
  row_absent(row, column + 1, UNSUPPORTED);
  while (text_line(&text, &line)) {
    struct text kind;
    double seconds;
    if (!text_word(&line, &kind)) continue;
    bool some = text_equals(kind, "some");
    if ((some || text_equals(kind, "full")) && take_total(&line, &seconds)) row_set(row, column + !some, seconds);
  }
}

// Hot: every tick.
static void pressure_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct pressure *s = state;
  for (size_t i = 0; i < RESOURCES; i++)
    if (!s->idle[i]) read_resource(s, i, row);
}

const struct part pressure_part = {"pressure",        pressure_open, pressure_scan,
                                   pressure_announce, pressure_read, pressure_close};
