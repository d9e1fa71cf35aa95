#include "row.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  enum kind kind;
} families[FAMILY_COUNT] = {
#define X(id, name, kind) {name, kind},
    FAMILIES(X)
#undef X
};

const char *family_name(enum family family) { return families[family].name; }
enum kind family_kind(enum family family) { return families[family].kind; }

struct row *row_new(void) {
  // calloc of this size comes as untouched pages: only what the columns need becomes resident.
  return calloc(1, sizeof(struct row));
}

size_t row_add(struct row *row, enum family family, const char *label) {
  return row_add_device(row, family, label, -1);
}

size_t row_add_device(struct row *row, enum family family, const char *label, int32_t device) {
  // The last place takes whatever is too much, outside `count`: see ROW_CAPACITY.
  size_t index = row->count < ROW_CAPACITY - 1 ? row->count++ : ROW_CAPACITY - 1;
  struct column *column = &row->columns[index];
  column->family = family;
  column->device = device;
  snprintf(column->label, sizeof column->label, "%s", label);
  row_absent(row, index, NOT_YET);
  return index;
}

static bool has_label(const struct row *row, enum family family, const char *label) {
  for (size_t i = 0; i < row->count; i++)
    if (row->columns[i].family == family && strcmp(row->columns[i].label, label) == 0) return true;
  return false;
}

void row_unique_label(const struct row *row, enum family family, char label[LABEL_SIZE]) {
  char plain[LABEL_SIZE - 12];  // room for the number
  snprintf(plain, sizeof plain, "%.*s", (int)sizeof plain - 1, label);
  for (unsigned n = 2; n < 10000 && has_label(row, family, label); n++) snprintf(label, LABEL_SIZE, "%s#%u", plain, n);
}

bool row_same_columns(const struct row *a, const struct row *b) {
  if (a->count != b->count) return false;
  for (size_t i = 0; i < a->count; i++)
    if (a->columns[i].family != b->columns[i].family || a->columns[i].device != b->columns[i].device ||
        strcmp(a->columns[i].label, b->columns[i].label) != 0)
      return false;
  return true;
}

enum reason reason_of_errno(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return DENIED;
    case ENOENT:
    case ENOTDIR:
    case EOPNOTSUPP:  // pressure files of a kernel with psi=0
    case ENXIO:
    case ENODATA:  // a sensor that is not wired
    case EINVAL:   // the speed of an interface that is down
      return UNSUPPORTED;
    case ENODEV:  // an open file whose device went away
      return LOST;
    default:
      return ERROR;
  }
}
