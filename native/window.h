// A window: what the ticks since the last taking add up to, per column. Gauges have minimum, weighted mean, maximum
// and last value; counters only the last.
#ifndef FLOPD_WINDOW_H
#define FLOPD_WINDOW_H

#include "row.h"

struct window {
  size_t count;
  uint64_t ticks;
  uint64_t late_ticks;
  int64_t start_ns;
  int64_t end_ns;   // of the last tick
  int64_t busy_ns;  // CPU time of the reader thread
  double *min, *max, *sum, *weight, *last;
  uint8_t *reasons;
};

// Memory for `count` columns in one piece, empty, all absent as `NOT_YET`. False without memory.
bool window_init(struct window *window, size_t count);
void window_free(struct window *window);

// Empties it; the last values and reasons stay those of `before`, so that a window without a tick still has them.
void window_start(struct window *window, const struct window *before, int64_t start_ns);

// Adds a tick. Hot: every tick, under the reader's lock.
void window_fold(struct window *window, const struct row *row);

// Writes 4 statistics per column and the reasons; `late` makes all absent as LATE.
void window_write(const struct window *window, const struct column *columns, bool late, double *values, uint8_t *reasons);

#endif
