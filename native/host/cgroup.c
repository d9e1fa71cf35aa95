// Limits and use of the cgroup that the agent runs in, from <sys>/fs/cgroup, version 2 or 1; which one it is says
// <proc>/self/cgroup. Read once per slow period, the limits by the scan: the kernel sums up over all CPUs for each
// answer. Without a limit the column is absent as unsupported.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

enum { MEMORY_LIMIT, MEMORY_USED, CPU_LIMIT, THROTTLED, COLUMNS };
static const enum family families[COLUMNS] = {CGROUP_MEMORY_LIMIT_BYTES, CGROUP_MEMORY_USED_BYTES,
                                              CGROUP_CPU_LIMIT_CORES, CGROUP_THROTTLED_SECONDS_TOTAL};
enum { PATH_SIZE = 4096 };

// Version 1 shows "no limit" as the largest page-aligned number.
static const double NO_LIMIT = 0x1p62;

struct value {
  double value;
  enum reason reason;
};

struct cgroup {
  const struct roots *roots;
  bool is_v2_memory, is_v2_cpu;
  char memory_folder[PATH_SIZE], cpu_folder[PATH_SIZE];  // below <sys>; "" = none
  struct source used, stat;
  struct value values[COLUMNS];
  int64_t next_ns;
  size_t first;
};

static void *cgroup_open(const struct roots *roots) {
  struct cgroup *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->roots = roots;
  s->used.fd = s->stat.fd = -1;
  return s;
}

static void cgroup_close(void *state) {
  struct cgroup *s = state;
  source_close(&s->used);
  source_close(&s->stat);
  free(s);
}

static struct value absent(enum reason reason) { return (struct value){NAN, reason}; }
static struct value present(double value) { return (struct value){value, PRESENT}; }

// The folder of `path` in the hierarchy at `mount`. In a container the path may be the host's, while the mount shows
// only the container's own group: then it is the mount itself.
static void set_folder(const struct cgroup *s, char folder[PATH_SIZE], const char *mount, struct text path) {
  struct text relative = path;
  while (text_take(&relative, "/")) {
  }
  int length = (int)(text_length(relative) < PATH_SIZE / 2 ? text_length(relative) : 0);
  snprintf(folder, PATH_SIZE, "%s%s%.*s", mount, length > 0 ? "/" : "", length, relative.at);
  if (!file_exists(s->roots->sys, folder)) snprintf(folder, PATH_SIZE, "%s", mount);
}

static bool lists(struct text controllers, const char *name) {
  while (controllers.at < controllers.end) {
    const char *comma = memchr(controllers.at, ',', text_length(controllers));
    struct text one = {controllers.at, comma != NULL ? comma : controllers.end};
    if (text_equals(one, name)) return true;
    controllers.at = comma != NULL ? comma + 1 : controllers.end;
  }
  return false;
}

static bool take_until_colon(struct text *line, struct text *field) {
  const char *colon = line->at < line->end ? memchr(line->at, ':', text_length(*line)) : NULL;
  if (colon == NULL) return false;
  *field = (struct text){line->at, colon};
  line->at = colon + 1;
  return true;
}

// Lines `4:memory:/path` (version 1) and `0::/path` (version 2). A controller that version 1 holds is not in 2.
static void find_folders(struct cgroup *s, struct text text) {
  struct text line, id, controllers, unified = {NULL, NULL};
  s->memory_folder[0] = s->cpu_folder[0] = '\0';
  while (text_line(&text, &line)) {
    if (!take_until_colon(&line, &id) || !take_until_colon(&line, &controllers)) continue;
    if (text_equals(id, "0") && text_length(controllers) == 0) unified = line;
    if (lists(controllers, "memory")) set_folder(s, s->memory_folder, "fs/cgroup/memory", line);
    if (!lists(controllers, "cpu")) continue;
    char mount[NAME_SIZE];
    snprintf(mount, sizeof mount, "fs/cgroup/%.*s", (int)(text_length(controllers) < 40 ? text_length(controllers) : 40), controllers.at);
    set_folder(s, s->cpu_folder, file_exists(s->roots->sys, mount) ? mount : "fs/cgroup/cpu", line);
  }
  s->is_v2_memory = s->memory_folder[0] == '\0';
  s->is_v2_cpu = s->cpu_folder[0] == '\0';
  if (unified.at == NULL) return;
  const char *mount = file_exists(s->roots->sys, "fs/cgroup/unified") ? "fs/cgroup/unified" : "fs/cgroup";
  if (s->is_v2_memory) set_folder(s, s->memory_folder, mount, unified);
  if (s->is_v2_cpu) set_folder(s, s->cpu_folder, mount, unified);
}

// Reads `folder/file`; the text lives in `memory`.
static struct text read_file(const struct cgroup *s, const char *folder, const char *file, char *memory, size_t size,
                             struct value *reason) {
  char path[PATH_SIZE + NAME_SIZE];
  int error = ENOENT;
  struct text text = {NULL, NULL};
  snprintf(path, sizeof path, "%s/%s", folder, file);
  if (folder[0] != '\0') text = file_text(s->roots->sys, path, memory, size, &error);
  *reason = absent(text.at == NULL ? reason_of_errno(error) : ERROR);
  return text;
}

static struct value read_memory_limit(const struct cgroup *s) {
  char memory[64];
  struct value result;
  double limit;
  struct text text =
      read_file(s, s->memory_folder, s->is_v2_memory ? "memory.max" : "memory.limit_in_bytes", memory, sizeof memory, &result);
  if (text.at == NULL) return result;
  if (text_take(&text, "max")) return absent(UNSUPPORTED);
  if (!text_decimal(&text, &limit)) return result;
  return limit < NO_LIMIT ? present(limit) : absent(UNSUPPORTED);
}

static struct value read_cpu_limit(const struct cgroup *s) {
  char memory[64], period_memory[64];
  struct value result;
  double quota, period;
  struct text text =
      read_file(s, s->cpu_folder, s->is_v2_cpu ? "cpu.max" : "cpu.cfs_quota_us", memory, sizeof memory, &result);
  if (text.at == NULL) return result;
  if (text_take(&text, "max")) return absent(UNSUPPORTED);
  if (!text_decimal(&text, &quota)) return result;
  if (quota < 0) return absent(UNSUPPORTED);
  if (!s->is_v2_cpu) text = read_file(s, s->cpu_folder, "cpu.cfs_period_us", period_memory, sizeof period_memory, &result);
  if (text.at == NULL || !text_decimal(&text, &period) || !(period > 0)) return absent(ERROR);
  return present(quota / period);
}

static void cgroup_scan(void *state, bool force) {
  (void)force;
  struct cgroup *s = state;
  char memory[PATH_SIZE], path[PATH_SIZE + NAME_SIZE];
  int error;
  struct text text = file_text(s->roots->proc, "self/cgroup", memory, sizeof memory, &error);
  find_folders(s, text);
  source_close(&s->used);
  source_close(&s->stat);
  s->used.error = s->stat.error = ENOENT;
  snprintf(path, sizeof path, "%s/%s", s->memory_folder, s->is_v2_memory ? "memory.current" : "memory.usage_in_bytes");
  if (s->memory_folder[0] != '\0') source_open(&s->used, s->roots->sys, path);
  snprintf(path, sizeof path, "%s/cpu.stat", s->cpu_folder);
  if (s->cpu_folder[0] != '\0') source_open(&s->stat, s->roots->sys, path);
  s->values[MEMORY_LIMIT] = read_memory_limit(s);
  s->values[CPU_LIMIT] = read_cpu_limit(s);
  s->next_ns = 0;
}

static void cgroup_announce(void *state, struct row *row) {
  struct cgroup *s = state;
  for (size_t c = 0; c < COLUMNS; c++) {
    size_t column = row_add(row, families[c], "");
    if (c == 0) s->first = column;
  }
}

static struct value read_used(struct cgroup *s) {
  double used;
  if (source_number(&s->used, &used) && used >= 0) return present(used);
  return absent(s->used.error == 0 ? ERROR : reason_of_errno(s->used.error));
}

// `throttled_usec 12` in version 2, `throttled_time 12000` (ns) in version 1.
static struct value read_throttled(struct cgroup *s) {
  struct text text = source_read(&s->stat, s->roots), line, key;
  if (text.at == NULL) return absent(reason_of_errno(s->stat.error));
  while (text_line(&text, &line)) {
    uint64_t value;
    if (!text_word(&line, &key) || !text_equals(key, s->is_v2_cpu ? "throttled_usec" : "throttled_time")) continue;
    if (text_u64(&line, &value)) return present((double)value / (s->is_v2_cpu ? 1e6 : 1e9));
  }
  return absent(UNSUPPORTED);  // a group without the cpu controller
}

// Hot: every tick.
static void cgroup_read(void *state, struct row *row, const struct tick *tick) {
  struct cgroup *s = state;
  if (tick->now_ns >= s->next_ns) {
    s->next_ns = tick->now_ns + tick->slow_ns;
    s->values[MEMORY_USED] = read_used(s);
    s->values[THROTTLED] = read_throttled(s);
  }
  for (size_t c = 0; c < COLUMNS; c++) {
    if (s->values[c].reason == PRESENT) row_set(row, s->first + c, s->values[c].value);
    else row_absent(row, s->first + c, s->values[c].reason);
  }
}

const struct part cgroup_part = {"cgroup", cgroup_open, cgroup_scan, cgroup_announce, cgroup_read, cgroup_close};
