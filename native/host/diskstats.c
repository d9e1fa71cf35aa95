// Whole disks from <proc>/diskstats. Partitions, loop, ram, zram and floppy devices are left out; device mapper, md
// and NVMe namespaces stay.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "names.h"

enum { MAX_DISKS = 64, SECTOR_BYTES = 512 };  // the kernel's unit here, whatever the disk's own sector

enum { READ_BYTES, WRITTEN_BYTES, READS, WRITES, BUSY_SECONDS, COLUMNS };
static const enum family families[COLUMNS] = {DISK_READ_BYTES_TOTAL, DISK_WRITTEN_BYTES_TOTAL, DISK_READS_TOTAL,
                                              DISK_WRITES_TOTAL, DISK_BUSY_SECONDS_TOTAL};

struct diskstats {
  const struct roots *roots;
  struct source file;
  bool lists_disks;  // <sys>/block is there to tell disks from partitions
  struct names names;
};

static void *diskstats_open(const struct roots *roots) {
  struct diskstats *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  source_open(&s->file, roots->proc, "diskstats");
  return s;
}

static void diskstats_close(void *state) {
  struct diskstats *s = state;
  source_close(&s->file);
  free(s);
}

// `   8       0 sda `; takes it up to the name.
static bool take_name(struct text *line, struct text *name) {
  uint64_t number;
  return text_u64(line, &number) && text_u64(line, &number) && text_word(line, name);
}

// Without sysfs: sda1, vdb12, nvme0n1p2 and mmcblk0p1 are partitions.
static bool looks_like_partition(const char *name) {
  size_t length = strlen(name), digits = 0;
  while (digits < length && isdigit((unsigned char)name[length - 1 - digits])) digits++;
  if (digits == 0 || digits == length) return false;
  static const char *const lettered[] = {"sd", "hd", "vd", "xvd"};
  for (size_t i = 0; i < sizeof lettered / sizeof *lettered; i++)
    if (strncmp(name, lettered[i], strlen(lettered[i])) == 0) return true;
  bool numbered = strncmp(name, "nvme", 4) == 0 || strncmp(name, "mmcblk", 6) == 0;
  return numbered && name[length - 1 - digits] == 'p';
}

static bool begins_with_and_number(const char *name, const char *prefix) {
  size_t length = strlen(prefix);
  return strncmp(name, prefix, length) == 0 && isdigit((unsigned char)name[length]);
}

static bool is_wanted(const struct diskstats *s, const char *name) {
  static const char *const left_out[] = {"loop", "ram", "zram", "fd"};
  for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
    if (begins_with_and_number(name, left_out[i])) return false;
  if (!s->lists_disks) return !looks_like_partition(name);
  char path[NAME_SIZE + 8];
  snprintf(path, sizeof path, "block/%s", name);
  // sysfs writes the slash of `cciss/c0d0` as an exclamation mark.
  for (char *c = path + strlen("block/"); *c != '\0'; c++)
    if (*c == '/') *c = '!';
  return file_exists(s->roots->sys, path);
}

static void diskstats_scan(void *state, bool force) {
  (void)force;
  struct diskstats *s = state;
  source_retry(&s->file, s->roots->proc, "diskstats");
  s->lists_disks = file_exists(s->roots->sys, "block");
  struct text text = source_read(&s->file, s->roots), line;
  if (text.at == NULL) return;
  names_clear(&s->names);
  for (size_t disks = 0; text_line(&text, &line);) {
    struct text name;
    struct name *entry = take_name(&line, &name) ? names_add(&s->names, name) : NULL;
    if (entry == NULL || disks == MAX_DISKS || !is_wanted(s, entry->name)) continue;
    entry->column = 0;
    disks++;
  }
}

static void diskstats_announce(void *state, struct row *row) {
  struct diskstats *s = state;
  for (size_t i = 0; i < s->names.count; i++) {
    struct name *entry = &s->names.entries[i];
    if (entry->column == NAME_LEFT_OUT) continue;
    char label[LABEL_SIZE];
    text_label(label, sizeof label, (struct text){entry->name, entry->name + entry->length});
    row_unique_label(row, families[0], label);
    entry->column = (int32_t)row->count;
    for (size_t c = 0; c < COLUMNS; c++) row_add(row, families[c], label);
  }
}

// Hot: every tick and disk. Fields after the name: reads, merged, sectors, ms; the same for writes; in flight, busy ms.
static void read_disk(struct text *line, struct row *row, size_t column) {
  enum { FIELDS = 10 };
  uint64_t field[FIELDS];
  size_t found = 0;
  while (found < FIELDS && text_u64(line, &field[found])) found++;
  if (found < FIELDS) {
    row_absent_range(row, column, COLUMNS, ERROR);
    return;
  }
  row_set(row, column + READS, (double)field[0]);
  row_set(row, column + READ_BYTES, (double)field[2] * SECTOR_BYTES);
  row_set(row, column + WRITES, (double)field[4]);
  row_set(row, column + WRITTEN_BYTES, (double)field[6] * SECTOR_BYTES);
  row_set(row, column + BUSY_SECONDS, (double)field[9] / 1000);
}

// Hot: every tick.
static void diskstats_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct diskstats *s = state;
  struct text text = source_read(&s->file, s->roots), line, name;
  if (text.at == NULL) {
    for (size_t i = 0; i < s->names.count; i++)
      if (s->names.entries[i].column != NAME_LEFT_OUT)
        row_absent_range(row, (size_t)s->names.entries[i].column, COLUMNS, reason_of_errno(s->file.error));
    return;
  }
  names_start_round(&s->names);
  while (text_line(&text, &line)) {
    if (!take_name(&line, &name)) continue;
    struct name *entry = names_find(&s->names, name);
    if (entry == NULL) {
      if (names_is_news(&s->names, name)) row->stale = true;
    } else if (entry->column != NAME_LEFT_OUT && entry->seen != s->names.round) {
      entry->seen = s->names.round;
      read_disk(&line, row, (size_t)entry->column);
    }
  }
  names_mark_lost(&s->names, row, COLUMNS);
}

const struct part diskstats_part = {"diskstats",        diskstats_open, diskstats_scan,
                                    diskstats_announce, diskstats_read, diskstats_close};
