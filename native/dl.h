// Opens a vendor's library at run time and fills a table of its functions. Optional functions that it lacks stay NULL.
#ifndef FLOPD_DL_H
#define FLOPD_DL_H

#include <stdbool.h>
#include <stddef.h>

enum { DL_NAMES = 4 };

// One function of a table: its names, best first (later ones are older spellings with the same parameters), and where
// its pointer belongs in the table.
struct dl_symbol {
  const char *names[DL_NAMES];
  size_t offset;
  bool required;
};

enum dl_result {
  DL_OPENED,
  DL_MISSING,  // no candidate is on this machine
  DL_BROKEN,   // one is there and cannot be loaded, `problem` says why
};

// Opens the first candidate that loads: a bare name (the loader's own path) or an absolute path; anything else is
// passed over. `opened` gets the path that the loader found, as far as it is known.
enum dl_result dl_open(const char *const *candidates, size_t count, void **library, char *opened, size_t opened_size,
                       char *problem, size_t problem_size);

// Fills `table`. The name of the first required function that is missing, or NULL when all are there.
const char *dl_fill(void *library, const struct dl_symbol *symbols, size_t count, void *table);

void dl_close(void *library);

#endif
