// A generation: the columns as they were announced together, and the two windows of them that take turns. Counted by
// reference, so that one being copied out may be replaced.
#ifndef FLOPD_GENERATION_H
#define FLOPD_GENERATION_H

#include <stdatomic.h>

#include "window.h"

struct generation {
  atomic_uint references;
  uint32_t number;
  size_t count;
  struct column *columns;
  struct window windows[2];
  struct window *active;
};

// Of the columns of a row, empty, with one reference; NULL without memory.
struct generation *generation_new(const struct row *row, uint32_t number, int64_t now_ns);

// Lets go of a reference.
void generation_release(struct generation *generation);

#endif
