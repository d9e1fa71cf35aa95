// Feeds every part of the host with cut, doubled and garbled texts, under AddressSanitizer and UBSan. Stands in for
// host/source.c: each text lies alone in memory of exactly its size, so that one byte read too many is found.
//
//   fuzz ROUNDS SEED
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/host.h"

static uint64_t state;
static uint64_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}
static uint64_t below(uint64_t n) { return draw() % n; }

static const struct {
  const char *ending;
  const char *text;
} samples[] = {
    {"stat", "cpu  10 20 30 40 50 60 70 80 90 1\ncpu0 5 5 5 5 5 5 5 5 5 5\ncpu1 1 2 3 4 5 6 7 8 9 10\ncpu1 1 1 1 1\n"
             "cpu8191 1 2 3 4\nintr 1 2 3\nctxt 5\nprocs_running 1\nprocs_blocked 0\nthrottled_usec 7\n"},
    {"loadavg", "0.50 1.25 2.00 1/100 5\n"},
    {"meminfo", "MemTotal: 100 kB\nMemFree: 50 kB\nMemAvailable: 60 kB\nBuffers: 1 kB\nCached: 2 kB\nSwapTotal: 0 kB\n"
                "SwapFree: 0 kB\n"},
    {"cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"},
    {"io", "some avg10=0.00 total=123\n"},
    {"diskstats", "   8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n 253 0 cciss/c0d0 1 2 3 4 5 6 7 8 9 10\n"},
    {"net/dev", "Inter-|\n face |bytes\n lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\neth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"},
    {"self/cgroup", "4:memory:/a/b\n2:cpu,cpuacct:/a/b\n0::/a.slice/b.service\n"},
    {"cpu.max", "150000 100000\n"},
    {"_label", "Package id 0\n"},
    {"name", "coretemp\n"},
    {"", "-12345\n"},
};

// A mutated copy in memory of exactly its length.
static char *mutate(const char *path, size_t *length) {
  const char *seed = "";
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    size_t end = strlen(samples[i].ending);
    if (strlen(path) < end || strcmp(path + strlen(path) - end, samples[i].ending) != 0) continue;
    seed = samples[i].text;
    break;
  }
  size_t size = strlen(seed), copies = below(8) == 0 ? 1 + below(40) : 1;
  char *text = malloc(size * copies + 64);
  for (size_t i = 0; i < copies; i++) memcpy(text + i * size, seed, size);
  size *= copies;
  if (below(4) == 0) size = below(size + 1);
  for (uint64_t n = below(6); n > 0 && size > 0; n--) {
    static const char odd[] = "0123456789 \n\t:-./,=kB\0\xff#c";
    size_t at = below(size);
    if (below(3) == 0) {
      size_t run = below(size - at + 1);
      memmove(text + at, text + at + run, size - at - run);
      size -= run;
    } else text[at] = odd[below(sizeof odd)];
  }
  if (below(16) == 0) {
    static const char *const tails[] = {"cpu", "cpu0", "99999999999999999999999", "some total=", ":", "8 0 ", "-"};
    const char *tail = tails[below(7)];
    memcpy(text + size, tail, strlen(tail));
    size += strlen(tail);
  }
  char *exact = malloc(size > 0 ? size : 1);
  memcpy(exact, text, size);
  free(text);
  *length = size;
  return exact;
}

// What host/source.c gives.

static char *paths[8192];
static int path_count;
static char *latest;

static int draw_errno(void) {
  static const int errors[] = {ENOENT, EACCES, EIO, ENODEV, EOPNOTSUPP};
  return errors[below(5)];
}

void source_open(struct source *source, int root, const char *path) {
  (void)root;
  source->fd = -1;
  source->error = draw_errno();
  if (below(10) == 0 || path_count == 8192) return;
  paths[path_count] = strdup(path);
  source->fd = path_count++;
  source->error = 0;
}
void source_close(struct source *source) { source->fd = -1; }
void source_retry(struct source *source, int root, const char *path) {
  if (source->fd < 0) source_open(source, root, path);
}
struct text source_read(struct source *source, const struct roots *roots) {
  (void)roots;
  free(latest);
  latest = NULL;
  if (source->fd < 0) return (struct text){NULL, NULL};
  if (below(20) == 0) {
    source->error = draw_errno();
    return (struct text){NULL, NULL};
  }
  size_t length;
  latest = mutate(paths[source->fd], &length);
  source->error = 0;
  return (struct text){latest, latest + length};
}
bool source_number(struct source *source, double *value) {
  if (source->fd < 0) return false;
  size_t length;
  char *memory = mutate("number", &length);
  struct text text = {memory, memory + length};
  source->error = text_decimal(&text, value) ? 0 : EBADMSG;
  free(memory);
  return source->error == 0;
}
struct text file_text(int root, const char *path, char *memory, size_t size, int *error) {
  (void)root;
  *error = below(8) == 0 ? draw_errno() : 0;
  if (*error != 0) return (struct text){NULL, NULL};
  size_t length;
  char *text = mutate(path, &length);
  if (length > size) length = size;
  memcpy(memory, text, length);
  free(text);
  return (struct text){memory, memory + length};
}
bool file_exists(int root, const char *path) {
  (void)root;
  (void)path;
  return below(2) == 0;
}
size_t folder_names(int root, const char *path, const char *prefix, char (*names)[NAME_SIZE], size_t capacity) {
  (void)root;
  static const char *const files[] = {"temp1_input", "temp1_label", "fan2_input", "power1_average", "power1_input",
                                      "energy1_input", "temp_input", "name", "power3_input", "in0_input"};
  size_t count = 0;
  for (uint64_t n = below(below(10) == 0 ? 300 : 12); n > 0 && count < capacity; n--) {
    if (prefix[0] == '\0' || strstr(path, "/hwmon") != NULL) snprintf(names[count++], NAME_SIZE, "%s", files[below(10)]);
    else snprintf(names[count++], NAME_SIZE, "%s%d%s", prefix, (int)below(20), below(3) == 0 ? ":1" : "");
  }
  return count;
}
bool link_base(int root, const char *path, char *name, size_t size) {
  (void)root;
  (void)path;
  snprintf(name, size, "%.*s", (int)size - 1, "0000:01:00.0");
  return below(2) == 0;
}
uint64_t hash_text(uint64_t hash, const char *text) { return hash * 31 + strlen(text) + below(2); }

static void check(const struct row *row) {
  for (size_t i = 0; i < row->count; i++) {
    bool is_present = row->reasons[i] == PRESENT;
    if (row->reasons[i] > NOT_YET || is_present != isfinite(row->values[i]) || memchr(row->columns[i].label, 0, LABEL_SIZE) == NULL) {
      fprintf(stderr, "bad column %s{%s} = %f, reason %d\n", family_name(row->columns[i].family), row->columns[i].label,
              row->values[i], row->reasons[i]);
      abort();
    }
  }
}

static void run(void *states[], const struct roots *roots) {
  struct row *row = row_new();
  int64_t now_ns = 1000000000;
  for (size_t i = 0; host_parts[i] != NULL; i++) states[i] = host_parts[i]->open(roots);
  for (uint64_t generation = 1 + below(4); generation > 0; generation--) {
    memset(row, 0, sizeof *row);
    for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->scan(states[i], below(2) == 0);
    for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->announce(states[i], row);
    for (uint64_t ticks = below(6); ticks > 0; ticks--) {
      struct tick tick = {now_ns += 100000000, 0.1, below(2) == 0 ? 0 : 1000000000};
      for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->read(states[i], row, &tick);
      check(row);
    }
  }
  for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->close(states[i]);
  free(row);
}

int main(int argc, char **argv) {
  unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
  state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
  struct roots roots = {-1, -1, NULL, 0};
  void *states[32];
  for (unsigned long i = 0; i < rounds; i++) {
    run(states, &roots);
    while (path_count > 0) free(paths[--path_count]);
  }
  free(latest);
  printf("%lu rounds\n", rounds);
  return 0;
}
