// The names that a table of the kernel (disks, interfaces) has in its lines, each with what became of it: columns of
// its own, or left out on purpose. The kernel keeps its order, so the next line's name is nearly always the next
// entry's.
#ifndef FLOPD_NAMES_H
#define FLOPD_NAMES_H

#include "host.h"

enum { MAX_NAMES = 1024, NAME_LEFT_OUT = -1 };

struct name {
  char name[NAME_SIZE];
  uint16_t length;
  int32_t column;  // first column in the row, or NAME_LEFT_OUT
  uint64_t seen;   // round that saw it last
};

struct names {
  size_t count;
  size_t expected;
  uint64_t round;
  struct name entries[MAX_NAMES];
};

static inline void names_clear(struct names *names) { names->count = names->expected = 0; }

static inline void names_start_round(struct names *names) {
  names->round++;
  names->expected = 0;
}

// The entry of a name, or NULL. Hot: every tick and line.
static inline struct name *names_find(struct names *names, struct text name) {
  size_t length = text_length(name);
  for (size_t n = 0, i = names->expected; n < names->count; n++, i++) {
    if (i >= names->count) i = 0;
    struct name *entry = &names->entries[i];
    if (entry->length != length || memcmp(entry->name, name.at, length) != 0) continue;
    names->expected = i + 1;
    return entry;
  }
  return NULL;
}

// Adds a name; NULL when it is there already, too long, or when there is no room.
static inline struct name *names_add(struct names *names, struct text name) {
  size_t length = text_length(name);
  if (length == 0 || length >= NAME_SIZE || names->count == MAX_NAMES || names_find(names, name) != NULL) return NULL;
  struct name *entry = &names->entries[names->count++];
  memcpy(entry->name, name.at, length);
  entry->name[length] = '\0';
  entry->length = (uint16_t)length;
  entry->column = NAME_LEFT_OUT;
  entry->seen = names->round;
  return entry;
}

// A name that no scan has seen: the row is stale, unless a scan would have no room for it either.
static inline bool names_is_news(const struct names *names, struct text name) {
  return text_length(name) > 0 && text_length(name) < NAME_SIZE && names->count < MAX_NAMES;
}

// Marks the columns of the names that this round did not see as lost.
static inline void names_mark_lost(struct names *names, struct row *row, size_t columns) {
  for (size_t i = 0; i < names->count; i++) {
    struct name *entry = &names->entries[i];
    if (entry->column == NAME_LEFT_OUT || entry->seen == names->round) continue;
    row_absent_range(row, (size_t)entry->column, columns, LOST);
    row->stale = true;
  }
}

#endif
