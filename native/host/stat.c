// CPU time from <proc>/stat: seconds per mode, busy ratio in all and per core, context switches, runnable and
// blocked tasks.
//
// The busy ratio of a tick is the share of CPU time since the last tick that was neither idle nor waiting for I/O.
// Its weight in the window is that CPU time, so that the mean over a window is exactly the ratio of the window's
// ends although the kernel counts in steps of 10 ms.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"

enum { MODES = 8, IDLE = 3, IOWAIT = 4, MAX_CORES = 1024, MAX_CORE_NUMBER = 8192 };
static const char *const mode_names[MODES] = {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"};

// The kernel's per-core idle and iowait go back a little at times (it corrects guesses); a larger step back is a
// source that started over.
enum { JITTER_SECONDS = 10 };

struct core {
  uint64_t ticks[MODES];  // the largest seen of each, see JITTER_SECONDS
  bool known;             // `ticks` is set
  bool announced;
  uint64_t seen;  // round of `read` that saw it last
  size_t column;
  double ratio;
};

struct stat {
  const struct roots *roots;
  struct source file;
  double ticks_per_second;
  uint64_t round;
  struct core all;
  size_t seconds, running, blocked, switches;
  size_t core_count;  // slots in use; a core keeps its slot for good, with its last counts
  struct core cores[MAX_CORES];
  uint16_t slots[MAX_CORE_NUMBER];  // slot + 1, 0 = none
  bool present[MAX_CORE_NUMBER];    // as the last scan saw it
};

static void *stat_open(const struct roots *roots) {
  struct stat *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  long hertz = sysconf(_SC_CLK_TCK);
  s->ticks_per_second = hertz > 0 ? (double)hertz : 100;
  source_open(&s->file, roots->proc, "stat");
  return s;
}

static void stat_close(void *state) {
  struct stat *s = state;
  source_close(&s->file);
  free(s);
}

// The number of a line that begins with `cpu<number> `; false for any other.
static bool take_core_number(struct text *line, uint64_t *number) {
  return text_take(line, "cpu") && text_digits(line, number) && line->at < line->end && *line->at == ' ' &&
         *number < MAX_CORE_NUMBER;
}

static void stat_scan(void *state, bool force) {
  (void)force;
  struct stat *s = state;
  source_retry(&s->file, s->roots->proc, "stat");
  struct text text = source_read(&s->file, s->roots), line;
  if (text.at == NULL) return;
  memset(s->present, 0, sizeof s->present);
  while (text_line(&text, &line)) {
    uint64_t number;
    if (!take_core_number(&line, &number)) continue;
    if (s->slots[number] == 0 && s->core_count < MAX_CORES) s->slots[number] = (uint16_t)++s->core_count;
    s->present[number] = s->slots[number] != 0;
  }
}

static void stat_announce(void *state, struct row *row) {
  struct stat *s = state;
  s->all.column = row_add(row, CPU_BUSY_RATIO, "");
  for (size_t i = 0; i < MODES; i++) {
    size_t column = row_add(row, CPU_SECONDS_TOTAL, mode_names[i]);
    if (i == 0) s->seconds = column;
  }
  s->running = row_add(row, CPU_RUNNABLE_TASKS, "");
  s->blocked = row_add(row, CPU_BLOCKED_TASKS, "");
  s->switches = row_add(row, CPU_CONTEXT_SWITCHES_TOTAL, "");
  for (size_t number = 0; number < MAX_CORE_NUMBER; number++) {
    if (s->slots[number] == 0) continue;
    struct core *core = &s->cores[s->slots[number] - 1];
    core->announced = s->present[number];
    if (!core->announced) continue;
    char label[16];
    snprintf(label, sizeof label, "%zu", number);
    core->column = row_add(row, CPU_CORE_BUSY_RATIO, label);
  }
}

// The kernels before 2.6.33 give fewer fields; those are 0.
static bool take_ticks(struct text *line, uint64_t ticks[MODES]) {
  size_t found = 0;
  memset(ticks, 0, MODES * sizeof *ticks);
  while (found < MODES && text_u64(line, &ticks[found])) found++;
  return found >= 4;
}

// Moves the core to its new counts and sets its ratio. Hot: every tick and core.
static void update_core(struct stat *s, struct core *core, const uint64_t ticks[MODES], struct row *row) {
  uint64_t total = 0, busy = 0;
  bool over = false;
  for (size_t i = 0; i < MODES; i++) {
    if (ticks[i] < core->ticks[i] && core->ticks[i] - ticks[i] > JITTER_SECONDS * s->ticks_per_second) over = true;
  }
  if (!core->known || over) {
    memcpy(core->ticks, ticks, sizeof core->ticks);
    core->known = true;
    row_absent(row, core->column, NOT_YET);
    return;
  }
  for (size_t i = 0; i < MODES; i++) {
    if (ticks[i] <= core->ticks[i]) continue;
    uint64_t more = ticks[i] - core->ticks[i];
    core->ticks[i] = ticks[i];
    total += more;
    if (i != IDLE && i != IOWAIT) busy += more;
  }
  // Less than one step of the kernel's clock has passed: the old ratio stands, without weight.
  if (total > 0) core->ratio = (double)busy / (double)total;
  else if (row->reasons[core->column] != PRESENT) return;
  row_set(row, core->column, core->ratio);
  row->weights[core->column] = (double)total;
}

static void read_all(struct stat *s, struct text *line, struct row *row) {
  uint64_t ticks[MODES];
  if (!take_ticks(line, ticks)) return;
  s->all.seen = s->round;
  update_core(s, &s->all, ticks, row);
  for (size_t i = 0; i < MODES; i++)
    row_set(row, s->seconds + i, (double)s->all.ticks[i] / s->ticks_per_second);
}

static void read_core(struct stat *s, uint64_t number, struct text *line, struct row *row) {
  struct core *core = s->slots[number] == 0 ? NULL : &s->cores[s->slots[number] - 1];
  if (core == NULL || !core->announced) {
    if (core != NULL || s->core_count < MAX_CORES) row->stale = true;
    return;
  }
  uint64_t ticks[MODES];
  if (core->seen == s->round) return;  // twice in one text: the first stands
  core->seen = s->round;
  if (take_ticks(line, ticks)) update_core(s, core, ticks, row);
  else row_absent(row, core->column, ERROR);
}

static void read_count(struct text *line, struct row *row, size_t column) {
  uint64_t value;
  if (text_u64(line, &value)) row_set(row, column, (double)value);
}

// Hot: every tick.
static void stat_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct stat *s = state;
  struct text text = source_read(&s->file, s->roots), line;
  s->round++;
  enum reason reason = text.at == NULL ? reason_of_errno(s->file.error) : ERROR;
  row_absent_range(row, s->seconds, MODES, reason);
  row_absent(row, s->running, reason);
  row_absent(row, s->blocked, reason);
  row_absent(row, s->switches, reason);
  while (text.at != NULL && text_line(&text, &line)) {
    struct text start = line;
    uint64_t number;
    if (text_take(&line, "cpu ")) read_all(s, &line, row);
    else if (line = start, take_core_number(&line, &number)) read_core(s, number, &line, row);
    else if (line = start, text_take(&line, "ctxt ")) read_count(&line, row, s->switches);
    else if (text_take(&line, "procs_running ")) read_count(&line, row, s->running);
    else if (text_take(&line, "procs_blocked ")) read_count(&line, row, s->blocked);
  }
  if (s->all.seen != s->round) row_absent(row, s->all.column, reason);
  for (size_t i = 0; i < s->core_count; i++) {
    struct core *core = &s->cores[i];
    if (!core->announced || core->seen == s->round) continue;
    row_absent(row, core->column, text.at == NULL ? reason : LOST);
    if (text.at != NULL) row->stale = true;
  }
}

const struct part stat_part = {"stat", stat_open, stat_scan, stat_announce, stat_read, stat_close};
