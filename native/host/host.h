// The contract of a part of the host: one source of numbers, in one file. The reader thread calls everything here;
// nothing else touches a part's state, so parts need no locks.
//
//   open     allocates the state and opens what it reads; NULL only without memory.
//   scan     looks at what is there (cores, disks, sensors): at the start, every 10 s, and when a tick found the row
//            stale. May allocate and open. `force` says that what looks unchanged must be opened anew as well.
//   announce always follows a scan: adds the part's columns to a new row and remembers where they begin. When all
//            parts together announce what the old row has, the old row stays, with its values.
//   read     fills the columns. Hot: every tick. No allocation, no lock, no log; absent is NaN with a reason. Sets
//            row->stale when something new or vanished showed; what vanished is LOST meanwhile.
//   close    closes and frees everything.
//
// Text comes from `source_read` and is hostile until parsed: any length, any bytes, lines in any order.
#ifndef FLOPD_HOST_H
#define FLOPD_HOST_H

#include "../row.h"
#include "../text.h"

// Directory descriptors of the roots (-1 when they could not be opened) and memory to read a file into.
struct roots {
  int proc;
  int sys;
  char *scratch;
  size_t scratch_size;
};

struct tick {
  int64_t now_ns;     // CLOCK_MONOTONIC at the beginning of the tick
  double elapsed;     // seconds since the last tick; the period in the first one
  int64_t slow_ns;    // how often slow sources (sensors, cgroup) are read
};

struct part {
  const char *name;
  void *(*open)(const struct roots *roots);
  void (*scan)(void *state, bool force);
  void (*announce)(void *state, struct row *row);
  void (*read)(void *state, struct row *row, const struct tick *tick);
  void (*close)(void *state);
};

// All parts, in the order of their columns; ends with NULL.
extern const struct part *const host_parts[];

// A file that stays open. `error` is the errno of the last open or read, 0 when it went well.
struct source {
  int fd;
  int error;
};

void source_open(struct source *source, int root, const char *path);
void source_close(struct source *source);

// Tries again to open what could not be opened.
void source_retry(struct source *source, int root, const char *path);

// The whole file as it is now, in the scratch memory of the roots, valid until the next read; text.at is NULL on
// failure. A file larger than the scratch is cut after its last whole line.
struct text source_read(struct source *source, const struct roots *roots);

// Reads the beginning of a file that is not kept open; text.at is NULL on failure, `error` its errno.
struct text file_text(int root, const char *path, char *memory, size_t size, int *error);

// One number alone in a kept-open file, as sysfs has them. False sets source->error.
bool source_number(struct source *source, double *value);

bool file_exists(int root, const char *path);

enum { NAME_SIZE = 64 };

// Names in a folder that begin with `prefix`, in natural order (hwmon2 before hwmon10), at most `capacity`; the
// number of them.
size_t folder_names(int root, const char *path, const char *prefix, char (*names)[NAME_SIZE], size_t capacity);

// Last component of what a symbolic link points to; false when it is none.
bool link_base(int root, const char *path, char *name, size_t size);

// A hash of texts, to see whether a folder changed since the last look.
uint64_t hash_text(uint64_t hash, const char *text);

#endif
