// The mean clock of all cores from <sys>/devices/system/cpu/cpufreq/policyN/scaling_cur_freq (kHz). One policy may
// stand for several cores. Asking a policy can cost an interrupt of its core, so a tick asks a few in turn.
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

enum { MAX_POLICIES = 1024, POLICIES_PER_TICK = 8 };
#define FOLDER "devices/system/cpu/cpufreq"

struct policy {
  struct source file;
  double cores;
  double hertz;  // NaN until read
};

struct cpufreq {
  const struct roots *roots;
  uint64_t hash;  // of the folder's names at the last scan
  size_t column;
  size_t count;
  size_t next;
  struct policy policies[MAX_POLICIES];
  char names[MAX_POLICIES][NAME_SIZE];  // for the scan alone
};

static void *cpufreq_open(const struct roots *roots) {
  struct cpufreq *s = calloc(1, sizeof *s);
  if (s != NULL) s->roots = roots;
  return s;
}

static void close_policies(struct cpufreq *s) {
  for (size_t i = 0; i < s->count; i++) source_close(&s->policies[i].file);
  s->count = s->next = 0;
}

static void cpufreq_close(void *state) {
  close_policies(state);
  free(state);
}

static double count_cores(const struct cpufreq *s, const char *policy) {
  char path[NAME_SIZE + 64], memory[4096];
  int error;
  snprintf(path, sizeof path, FOLDER "/%s/affected_cpus", policy);
  struct text text = file_text(s->roots->sys, path, memory, sizeof memory, &error), word;
  double cores = 0;
  while (text.at != NULL && text_word(&text, &word)) cores++;
  return cores > 0 ? cores : 1;
}

static void cpufreq_scan(void *state, bool force) {
  struct cpufreq *s = state;
  size_t count = folder_names(s->roots->sys, FOLDER, "policy", s->names, MAX_POLICIES);
  uint64_t hash = 1;
  for (size_t i = 0; i < count; i++) hash = hash_text(hash, s->names[i]);
  if (hash == s->hash && !force) return;
  s->hash = hash;
  close_policies(s);
  for (size_t i = 0; i < count; i++) {
    struct policy *policy = &s->policies[s->count];
    char path[NAME_SIZE + 64];
    snprintf(path, sizeof path, FOLDER "/%s/scaling_cur_freq", s->names[i]);
    source_open(&policy->file, s->roots->sys, path);
    if (policy->file.fd < 0) continue;
    policy->cores = count_cores(s, s->names[i]);
    policy->hertz = NAN;
    s->count++;
  }
}

static void cpufreq_announce(void *state, struct row *row) {
  struct cpufreq *s = state;
  s->column = row_add(row, CPU_CLOCK_HERTZ, "");
}

// Hot: every tick.
static void cpufreq_read(void *state, struct row *row, const struct tick *tick) {
  (void)tick;
  struct cpufreq *s = state;
  enum reason reason = UNSUPPORTED;
  for (size_t n = 0; n < POLICIES_PER_TICK && n < s->count; n++) {
    struct policy *policy = &s->policies[s->next];
    s->next = (s->next + 1) % s->count;
    double kilohertz;
    policy->hertz = source_number(&policy->file, &kilohertz) && kilohertz > 0 ? kilohertz * 1000 : NAN;
    if (policy->file.error != 0) reason = reason_of_errno(policy->file.error);
  }
  double sum = 0, cores = 0;
  for (size_t i = 0; i < s->count; i++) {
    if (isnan(s->policies[i].hertz)) continue;
    sum += s->policies[i].hertz * s->policies[i].cores;
    cores += s->policies[i].cores;
  }
  if (cores > 0) row_set(row, s->column, sum / cores);
  else row_absent(row, s->column, reason);
}

const struct part cpufreq_part = {"cpufreq",        cpufreq_open, cpufreq_scan,
                                  cpufreq_announce, cpufreq_read, cpufreq_close};
