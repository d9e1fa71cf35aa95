#include "window.h"

#include <stdlib.h>
#include <string.h>

bool window_init(struct window *window, size_t count) {
  memset(window, 0, sizeof *window);
  size_t room = count > 0 ? count : 1;
  double *memory = calloc(room * 5, sizeof *memory);
  window->reasons = malloc(room);
  if (memory == NULL || window->reasons == NULL) {
    free(memory);
    free(window->reasons);
    memset(window, 0, sizeof *window);
    return false;
  }
  window->count = count;
  window->min = memory;
  window->max = memory + room;
  window->sum = memory + 2 * room;
  window->weight = memory + 3 * room;
  window->last = memory + 4 * room;
  for (size_t i = 0; i < count; i++) window->last[i] = NAN;
  memset(window->reasons, NOT_YET, room);
  window_start(window, window, 0);
  return true;
}

void window_free(struct window *window) {
  free(window->min);
  free(window->reasons);
}

void window_start(struct window *window, const struct window *before, int64_t start_ns) {
  window->ticks = window->late_ticks = 0;
  window->busy_ns = 0;
  window->start_ns = window->end_ns = start_ns;
  for (size_t i = 0; i < window->count; i++) {
    window->min[i] = INFINITY;
    window->max[i] = -INFINITY;
    window->sum[i] = window->weight[i] = 0;
  }
  if (before == window) return;
  memcpy(window->last, before->last, window->count * sizeof *window->last);
  memcpy(window->reasons, before->reasons, window->count);
}

void window_fold(struct window *window, const struct row *row) {
  window->ticks++;
  for (size_t i = 0; i < window->count; i++) {
    double value = row->values[i];
    window->last[i] = value;
    window->reasons[i] = row->reasons[i];
    if (row->reasons[i] != PRESENT) continue;
    if (value < window->min[i]) window->min[i] = value;
    if (value > window->max[i]) window->max[i] = value;
    window->sum[i] += value * row->weights[i];
    window->weight[i] += row->weights[i];
  }
}

void window_write(const struct window *window, const struct column *columns, bool late, double *values,
                  uint8_t *reasons) {
  for (size_t i = 0; i < window->count; i++, values += 4) {
    // A column is absent when its last tick was, whatever went before: a disk that is gone has no statistics.
    reasons[i] = late ? LATE : window->reasons[i];
    values[0] = values[1] = values[2] = values[3] = NAN;
    if (reasons[i] != PRESENT) continue;
    double last = window->last[i];
    values[3] = last;
    if (family_kind(columns[i].family) == COUNTER) continue;
    bool empty = window->min[i] > window->max[i];
    double min = empty ? last : window->min[i], max = empty ? last : window->max[i];
    double mean = window->weight[i] > 0 ? window->sum[i] / window->weight[i] : last;
    values[0] = min;
    values[1] = mean < min ? min : mean > max ? max : mean;  // rounding must not leave the range
    values[2] = max;
  }
}
