// The script that a fake vendor library plays: which devices there are, what they answer, and how they fail. One such
// library includes this header once, after defining
//   SCRIPT_VARIABLE   name of the environment variable with the script's path, e.g. "FLOPD_FAKE_X"
//   SCRIPT_CALLS      name of the one with a file for counts of calls
//   SCRIPT_DEFAULT    the script that plays without the variable
//
// A script is lines of words; `#` begins a comment; unknown lines are said on stderr and passed over.
//   set KEY VALUE…             of the library as a whole (`set count 8`, `set driver 590.48.01`)
//   device T KEY VALUE…        of a device: T is its number, `N.M` for partition M of device N, or `*` for every
//                              device (`N.*`: every partition of N, `*.*`: every partition); the narrowest wins. A value
//                              runs to the end of the line. A number may be `A+B/s`: A when the library was loaded, B
//                              more each second; `nan`, `inf`, hexadecimal and negative numbers are fine. Of a key
//                              that stands several times the last counts, or all, where the key is a list.
//   error FUNCTION CODE [T]    calls of it answer with that code; FUNCTION `*` is every function
//   hang FUNCTION MS [T]       calls of it take that long (before an error, if there is one too), or until the line is
//                              gone from the script
//   gone T                     the device is lost: every call about it fails as the library says so
//   event T TYPE DATA [COUNT]  happens each time the script is read anew; so take the line out to change other things
//   storm RATE T TYPE DATA     happens RATE times a second for as long as the line stands
// An error, a hang or a loss of a device is one of its partitions too.
//
// The file is looked at no more than once a millisecond and read again when it changed. Replace it by rename: a half-
// written one would be played. All functions may be called by any thread; text that they return stays valid for good.
//
// With SCRIPT_CALLS set, that file has a line per function and per device, always up to date:
//   NAME CALLS INSIDE MOST     how often it was called, calls that are inside now, most at once; devices as `device:T`
// Behind the lines it is filled with NUL.
#ifndef FAKE_SCRIPT_H
#define FAKE_SCRIPT_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SCRIPT_UNUSED __attribute__((unused)) static

enum { SCRIPT_TARGET = 24, SCRIPT_EVENTS = 4096, SCRIPT_STORMS = 16, SCRIPT_LINE = 96, SCRIPT_LINES = 4096 };
enum { SCRIPT_LOST = -1, SCRIPT_POLL_MS = 10 };

struct script_event {
  char target[SCRIPT_TARGET];
  uint64_t type, data;
};

struct script_entry {
  uint64_t hash;
  const char *target, *key, *value;
  struct script_entry *more;  // further values of the same key, in the order of the file
  struct script_entry *last;
};

struct script {
  struct script *older;  // kept, so that text stays valid
  char *text;
  struct script_entry *entries, **table;
  size_t count, mask;
  bool fails;  // there is a line that makes calls fail or hang
  struct script_event storms[SCRIPT_STORMS];
  double rates[SCRIPT_STORMS];
  size_t storm_count;
  double since;
};

static struct {
  pthread_mutex_t lock;
  _Atomic(struct script *) now;
  _Atomic int64_t checked_ns;
  const char *path;
  struct stat seen;
  double started;
  struct script_event events[SCRIPT_EVENTS];
  size_t event_first, event_count;
  double stormed[SCRIPT_STORMS];
  // The file of counts.
  pthread_mutex_t calls_lock;
  bool calls_tried;
  char *calls;
  struct script_calls {
    char name[64];
    uint64_t count, inside, most;
    size_t line;
  } lines[SCRIPT_LINES];
  size_t line_count;
} script_state = {.lock = PTHREAD_MUTEX_INITIALIZER, .calls_lock = PTHREAD_MUTEX_INITIALIZER};

SCRIPT_UNUSED int64_t script_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

SCRIPT_UNUSED double script_seconds(void) { return (double)script_ns() / 1e9; }

SCRIPT_UNUSED void script_sleep_ms(double ms) {
  struct timespec rest = {(time_t)(ms / 1000), (long)(fmod(ms, 1000) * 1e6)};
  while (nanosleep(&rest, &rest) != 0 && errno == EINTR) continue;
}

SCRIPT_UNUSED uint64_t script_hash(const char *target, const char *key) {
  uint64_t hash = 14695981039346656037u;
  for (; *target != '\0'; target++) hash = (hash ^ (unsigned char)*target) * 1099511628211u;
  hash = (hash ^ ' ') * 1099511628211u;
  for (; *key != '\0'; key++) hash = (hash ^ (unsigned char)*key) * 1099511628211u;
  return hash ^ hash >> 29;
}

// --- Reading ---------------------------------------------------------------------------------------------------

SCRIPT_UNUSED struct script_entry *script_find(const struct script *s, const char *target, const char *key) {
  uint64_t hash = script_hash(target, key);
  for (size_t i = hash & s->mask; s->table[i] != NULL; i = (i + 1) & s->mask) {
    struct script_entry *each = s->table[i];
    if (each->hash == hash && strcmp(each->key, key) == 0 && strcmp(each->target, target) == 0) return each;
  }
  return NULL;
}

SCRIPT_UNUSED void script_put(struct script *s, const char *target, const char *key, const char *value) {
  struct script_entry *entry = &s->entries[s->count++];
  *entry = (struct script_entry){script_hash(target, key), target, key, value, NULL, NULL};
  entry->last = entry;
  struct script_entry *first = script_find(s, target, key);
  if (first != NULL) {
    first->last->more = entry;
    first->last = entry;
    return;
  }
  size_t i = entry->hash & s->mask;
  while (s->table[i] != NULL) i = (i + 1) & s->mask;
  s->table[i] = entry;
}

SCRIPT_UNUSED void script_skip(char **at) {
  while (**at == ' ' || **at == '\t') (*at)++;
}

// Cuts the next word off; "" at the end.
SCRIPT_UNUSED char *script_word(char **at) {
  script_skip(at);
  char *word = *at;
  while (**at != '\0' && **at != ' ' && **at != '\t') (*at)++;
  if (**at != '\0') *(*at)++ = '\0';
  return word;
}

SCRIPT_UNUSED struct script_event script_parse_event(char **at) {
  struct script_event event = {0};
  snprintf(event.target, sizeof event.target, "%s", script_word(at));
  event.type = strtoull(script_word(at), NULL, 0);
  event.data = strtoull(script_word(at), NULL, 0);
  return event;
}

SCRIPT_UNUSED void script_push(const struct script_event *event, uint64_t times) {
  for (; times > 0 && script_state.event_count < SCRIPT_EVENTS; times--)
    script_state.events[(script_state.event_first + script_state.event_count++) % SCRIPT_EVENTS] = *event;
}

SCRIPT_UNUSED void script_line(struct script *s, char *line) {
  char *at = line;
  char *verb = script_word(&at);
  if (verb[0] == '\0') return;
  if (strcmp(verb, "set") == 0) {
    char *key = script_word(&at);
    script_skip(&at);
    script_put(s, "", key, at);
  } else if (strcmp(verb, "device") == 0) {
    char *target = script_word(&at);
    char *key = script_word(&at);
    script_skip(&at);
    script_put(s, target, key, at);
  } else if (strcmp(verb, "error") == 0 || strcmp(verb, "hang") == 0) {
    // The key is `!FUNCTION` for errors and `~FUNCTION` for hangs: the end of the word before makes room for the mark.
    char *function = script_word(&at) - 1;
    function[0] = verb[0] == 'e' ? '!' : '~';
    char *value = script_word(&at);
    char *target = script_word(&at);
    script_put(s, target[0] == '\0' ? "" : target, function, value);
    s->fails = true;
  } else if (strcmp(verb, "gone") == 0) {
    script_put(s, script_word(&at), "!gone", "1");
    s->fails = true;
  } else if (strcmp(verb, "event") == 0) {
    struct script_event event = script_parse_event(&at);
    uint64_t times = strtoull(script_word(&at), NULL, 0);
    script_push(&event, times == 0 ? 1 : times);
  } else if (strcmp(verb, "storm") == 0 && s->storm_count < SCRIPT_STORMS) {
    s->rates[s->storm_count] = strtod(script_word(&at), NULL);
    s->storms[s->storm_count++] = script_parse_event(&at);
  } else {
    fprintf(stderr, "fake library: unknown line: %s\n", verb);
  }
}

// Takes ownership of `text`.
SCRIPT_UNUSED struct script *script_parse(char *text) {
  struct script *s = calloc(1, sizeof *s);
  size_t lines = 1;
  for (const char *at = text; *at != '\0'; at++) lines += *at == '\n';
  size_t size = 16;
  while (size < lines * 2) size *= 2;
  s->text = text;
  s->entries = calloc(lines, sizeof *s->entries);
  s->table = calloc(size, sizeof(void *));
  s->mask = size - 1;
  s->since = script_seconds();
  memset(script_state.stormed, 0, sizeof script_state.stormed);
  char *rest = text;
  for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
    char *end = strchr(line, '#');
    if (end == NULL) end = line + strlen(line);
    while (end > line && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
    *end = '\0';
    script_line(s, line);
  }
  return s;
}

SCRIPT_UNUSED char *script_read(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  size_t size = 0, room = 1 << 16;
  char *text = malloc(room);
  for (ssize_t n; (n = read(fd, text + size, room - size - 1)) > 0;) {
    size += (size_t)n;
    if (room - size < 2) text = realloc(text, room *= 2);
  }
  close(fd);
  text[size] = '\0';
  return text;
}

// Reads the script when it is new. With the lock held.
SCRIPT_UNUSED void script_refresh(void) {
  struct script *old = atomic_load(&script_state.now);
  if (old == NULL) {
    script_state.path = getenv(SCRIPT_VARIABLE);
    script_state.started = script_seconds();
  }
  struct stat now = {0};
  const char *path = script_state.path;
  bool there = path != NULL && stat(path, &now) == 0;
  if (old != NULL && (!there || (now.st_mtim.tv_sec == script_state.seen.st_mtim.tv_sec &&
                                 now.st_mtim.tv_nsec == script_state.seen.st_mtim.tv_nsec &&
                                 now.st_size == script_state.seen.st_size && now.st_ino == script_state.seen.st_ino)))
    return;
  char *text = there ? script_read(path) : NULL;
  if (text == NULL) {
    if (old != NULL) return;
    text = strdup(path == NULL ? SCRIPT_DEFAULT : "set count 0\n");
  }
  script_state.seen = now;
  struct script *next = script_parse(text);
  next->older = old;
  atomic_store(&script_state.now, next);
}

// The script as it is now.
SCRIPT_UNUSED const struct script *script_now(void) {
  int64_t now = script_ns();
  if (now - atomic_load(&script_state.checked_ns) > 1000000 || atomic_load(&script_state.now) == NULL) {
    pthread_mutex_lock(&script_state.lock);
    if (now - atomic_load(&script_state.checked_ns) > 1000000) {
      script_refresh();
      atomic_store(&script_state.checked_ns, script_ns());
    }
    pthread_mutex_unlock(&script_state.lock);
  }
  return atomic_load(&script_state.now);
}

__attribute__((destructor)) SCRIPT_UNUSED void script_unload(void) {
  for (struct script *s = atomic_load(&script_state.now), *older; s != NULL; s = older) {
    older = s->older;
    free(s->text);
    free(s->entries);
    free(s->table);
    free(s);
  }
  if (script_state.calls != NULL) munmap(script_state.calls, SCRIPT_LINES * SCRIPT_LINE);
}

// --- Values ----------------------------------------------------------------------------------------------------

// What stands under a key for a target (`3`, `3.1`, or "" for the library); NULL: nothing.
SCRIPT_UNUSED const struct script_entry *script_get(const char *target, const char *key) {
  const struct script *s = script_now();
  const struct script_entry *found = script_find(s, target, key);
  if (found != NULL || target[0] == '\0') return found;
  const char *point = strchr(target, '.');
  if (point == NULL) return script_find(s, "*", key);
  char every[SCRIPT_TARGET + 2];
  snprintf(every, sizeof every, "%.*s.*", (int)(point - target), target);
  found = script_find(s, every, key);
  return found != NULL ? found : script_find(s, "*.*", key);
}

SCRIPT_UNUSED const char *script_text(const char *target, const char *key, const char *otherwise) {
  const struct script_entry *entry = script_get(target, key);
  return entry != NULL ? entry->last->value : otherwise;
}

// The `+B/s` behind a number.
SCRIPT_UNUSED double script_growth(const char *end) {
  return *end == '+' ? strtod(end + 1, NULL) * (script_seconds() - script_state.started) : 0;
}

SCRIPT_UNUSED double script_parse_real(const char *text) {
  char *end;
  double value = strtod(text, &end);
  return value + script_growth(end);
}

// Exact in all 64 bits; negative numbers wrap.
SCRIPT_UNUSED uint64_t script_parse_whole(const char *text) {
  char *end;
  uint64_t value = strtoull(text, &end, 0);
  return value + (uint64_t)script_growth(end);
}

// --- Calls -----------------------------------------------------------------------------------------------------

// With the lock held. Writes the line of what has changed.
SCRIPT_UNUSED void script_count_one(const char *prefix, const char *name, bool enters) {
  char whole[64];
  snprintf(whole, sizeof whole, "%s%s", prefix, name);
  size_t at = script_hash("", whole) % SCRIPT_LINES;
  while (script_state.lines[at].name[0] != '\0' && strcmp(script_state.lines[at].name, whole) != 0)
    at = (at + 1) % SCRIPT_LINES;
  struct script_calls *calls = &script_state.lines[at];
  if (calls->name[0] == '\0') {
    if (script_state.line_count >= SCRIPT_LINES / 2) return;
    memcpy(calls->name, whole, sizeof whole);
    calls->line = script_state.line_count++;
  }
  if (enters) calls->count++;
  calls->inside += enters ? 1 : (uint64_t)-1;
  if (calls->inside > calls->most) calls->most = calls->inside;
  char line[SCRIPT_LINE + 1];
  int length = snprintf(line, sizeof line, "%s %llu %llu %llu", whole, (unsigned long long)calls->count,
                        (unsigned long long)calls->inside, (unsigned long long)calls->most);
  if (length >= SCRIPT_LINE) return;
  memset(line + length, ' ', (size_t)(SCRIPT_LINE - 1 - length));
  line[SCRIPT_LINE - 1] = '\n';
  memcpy(script_state.calls + calls->line * SCRIPT_LINE, line, SCRIPT_LINE);
}

SCRIPT_UNUSED void script_count(const char *function, const char *target, bool enters) {
  const char *path = getenv(SCRIPT_CALLS);
  if (path == NULL) return;
  pthread_mutex_lock(&script_state.calls_lock);
  if (!script_state.calls_tried) {
    script_state.calls_tried = true;
    size_t size = SCRIPT_LINES * SCRIPT_LINE;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0) {
      void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      script_state.calls = memory == MAP_FAILED ? NULL : memory;
    }
    if (fd >= 0) close(fd);
  }
  if (script_state.calls != NULL) {
    script_count_one("", function, enters);
    if (target[0] != '\0') script_count_one("device:", target, enters);
  }
  pthread_mutex_unlock(&script_state.calls_lock);
}

// The line about a function (`!` errors, `~` hangs) that fits a target best: its own, its device's, all.
SCRIPT_UNUSED const char *script_rule(const struct script *s, char mark, const char *function, const char *target) {
  char device[SCRIPT_TARGET], key[96];
  snprintf(device, sizeof device, "%.*s", (int)strcspn(target, "."), target);
  const char *targets[] = {target, device, target[0] != '\0' ? "*" : "", ""};
  int last = strcmp(function, "gone") == 0 ? 0 : 1;  // `error *` loses no device
  for (int any = 0; any <= last; any++) {
    snprintf(key, sizeof key, "%c%s", mark, any ? "*" : function);
    for (int i = 0; i < 4; i++) {
      const struct script_entry *entry = script_find(s, targets[i], key);
      if (entry != NULL) return entry->last->value;
    }
  }
  return NULL;
}

// Asks leave for a call, and takes the time that it is to take: 0, the code that it is to fail with, or SCRIPT_LOST.
SCRIPT_UNUSED int script_leave(const char *function, const char *target) {
  script_count(function, target, true);
  const struct script *s = script_now();
  const char *hang = s->fails ? script_rule(s, '~', function, target) : NULL;
  double end = script_seconds() + (hang != NULL ? strtod(hang, NULL) / 1000 : 0);
  for (; hang != NULL && script_seconds() < end; hang = script_rule(s, '~', function, target)) {
    double left_ms = (end - script_seconds()) * 1000;
    script_sleep_ms(left_ms < SCRIPT_POLL_MS ? fmax(left_ms, 0) : SCRIPT_POLL_MS);
    s = script_now();
  }
  const char *error = s->fails ? script_rule(s, '!', function, target) : NULL;
  bool is_gone = s->fails && target[0] != '\0' && script_rule(s, '!', "gone", target) != NULL;
  script_count(function, target, false);
  return is_gone ? SCRIPT_LOST : error != NULL ? (int)strtol(error, NULL, 0) : 0;
}

// --- Events ----------------------------------------------------------------------------------------------------

// The next event that `accepts`; what it refuses is lost. False after `timeout_ms` without one.
SCRIPT_UNUSED bool script_wait(double timeout_ms, bool (*accepts)(void *context, const struct script_event *event),
                               void *context, struct script_event *event) {
  double end = script_seconds() + timeout_ms / 1000;
  for (;;) {
    const struct script *s = script_now();
    bool found = false;
    pthread_mutex_lock(&script_state.lock);
    while (!found && script_state.event_count > 0) {
      *event = script_state.events[script_state.event_first];
      script_state.event_first = (script_state.event_first + 1) % SCRIPT_EVENTS;
      script_state.event_count--;
      found = accepts(context, event);
    }
    for (size_t i = 0; i < s->storm_count && !found; i++) {
      if (script_state.stormed[i] >= (script_seconds() - s->since) * s->rates[i]) continue;
      script_state.stormed[i]++;
      *event = s->storms[i];
      found = accepts(context, event);
    }
    pthread_mutex_unlock(&script_state.lock);
    if (found) return true;
    double left_ms = (end - script_seconds()) * 1000;
    if (left_ms <= 0) return false;
    script_sleep_ms(fmin(left_ms, s->storm_count > 0 ? 1 : SCRIPT_POLL_MS));
  }
}

#endif
