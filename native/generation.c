#include "generation.h"

#include <stdlib.h>
#include <string.h>

struct generation *generation_new(const struct row *row, uint32_t number, int64_t now_ns) {
  struct generation *g = calloc(1, sizeof *g);
  if (g == NULL) return NULL;
  g->columns = malloc((row->count + 1) * sizeof *g->columns);
  bool first = window_init(&g->windows[0], row->count), second = window_init(&g->windows[1], row->count);
  if (g->columns == NULL || !first || !second) {
    if (first) window_free(&g->windows[0]);
    if (second) window_free(&g->windows[1]);
    free(g->columns);
    free(g);
    return NULL;
  }
  memcpy(g->columns, row->columns, row->count * sizeof *g->columns);
  atomic_init(&g->references, 1);
  g->number = number;
  g->count = row->count;
  g->active = &g->windows[0];
  g->active->start_ns = g->active->end_ns = now_ns;
  return g;
}

void generation_release(struct generation *g) {
  if (g == NULL || atomic_fetch_sub(&g->references, 1) > 1) return;
  window_free(&g->windows[0]);
  window_free(&g->windows[1]);
  free(g->columns);
  free(g);
}
