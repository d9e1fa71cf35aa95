// Drives one vendor's file as the crew does, by commands on its standard input, and answers each with a line of JSON:
//
//   script PATH        replaces the script that the fake library plays (the file that $HARNESS_SCRIPT names)
//   open               opens a session
//   list               lists devices; those that are known keep their memory
//   round [PACE…]      reads all devices by these paces (0 1 2 without a word), but those with a call in progress
//   begin INDEX PACE   reads one device on a thread of its own; `end` waits for it
//   wait MS COUNT      waits for events until COUNT came, or three waits of MS brought none
//   sleep MS           is not a wait for anything: the time between two samples
//   close              releases the devices and closes the session
//
// Compiled with -DVENDOR=nvidia_vendor.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "vendor/vendor.h"

extern const struct vendor VENDOR;

struct seat {
  struct device device;
  struct sample sample;
  enum outcome outcomes[PACE_COUNT];
  pthread_t thread;
  enum pace pace;
  bool is_called;
};

static void *session;
static struct seat *seats[MAX_DEVICES];
static size_t seat_count;

static const char *const number_names[] = {
#define X(id, family, label, when) #id,
    NUMBERS(X)
#undef X
};
static const bool is_found[] = {
#define ALWAYS false
#define FOUND true
#define X(id, family, label, when) when,
    NUMBERS(X)
#undef X
};
static const char *const signal_names[] = {
#define X(id, name) name,
    SIGNALS(X)
#undef X
};
static const char *const reason_names[] = {"present", "unsupported", "denied", "lost", "late", "error", "notYet"};
static const char *const outcome_names[] = {"ok", "deviceLost", "denied", "failed", "vendorLost"};
static const char *const event_names[] = {"xid", "ecc", "fault", "lost", "returned"};

static void print_text(const char *text) {
  putchar('"');
  for (; *text != '\0'; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    putchar(*text);
  }
  putchar('"');
}

static void print_field(const char *name, const char *text) {
  printf(",\"%s\":", name);
  print_text(text);
}

static void print_number(double value) {
  if (isfinite(value)) printf("%.17g", value);
  else printf("null");
}

static void print_device(const struct device *d) {
  printf("{\"index\":%d", d->index);
  print_field("id", d->id), print_field("parent", d->parent), print_field("name", d->name);
  print_field("busId", d->bus_id), print_field("serial", d->serial), print_field("firmware", d->firmware);
  print_field("profile", d->profile), print_field("capability", d->compute_capability);
  printf(",\"numaNode\":%d,\"nodeNumber\":%d,\"hasPipes\":%s,\"lanes\":", d->numa_node, d->node_number,
         d->has_pipes ? "true" : "false");
  print_number(d->lanes), printf(",\"units\":"), print_number(d->units);
  printf(",\"maxClockHertz\":"), print_number(d->max_clock_hertz);
  putchar('}');
}

static void print_numbers(const struct seat *seat) {
  const struct sample *s = &seat->sample;
  printf(",\"values\":{");
  for (int i = 0; i < NUMBER_COUNT; i++) {
    if (s->reasons[i] == PRESENT && !isfinite(s->values[i])) abort();
    if (s->reasons[i] != PRESENT && !isnan(s->values[i])) abort();
    printf("%s\"%s\":", i > 0 ? "," : "", number_names[i]);
    if (s->reasons[i] == PRESENT) print_number(s->values[i]);
    else print_text(reason_names[s->reasons[i]]);
  }
  printf("},\"found\":[");
  const char *comma = "";
  for (int i = 0; i < NUMBER_COUNT; i++)
    if (is_found[i] && (seat->device.has >> i & 1)) printf("%s\"%s\"", comma, number_names[i]), comma = ",";
  printf("],\"signals\":{");
  comma = "";
  for (int i = 0; i < SIGNAL_COUNT; i++)
    if (!isnan(s->signals[i])) printf("%s\"%s\":%.17g", comma, signal_names[i], s->signals[i]), comma = ",";
  putchar('}');
}

static void print_seat(const struct seat *seat) {
  const struct sample *s = &seat->sample;
  printf("{\"id\":"), print_text(seat->device.id);
  printf(",\"outcomes\":[");
  for (int i = 0; i < PACE_COUNT; i++) printf("%s\"%s\"", i > 0 ? "," : "", outcome_names[seat->outcomes[i]]);
  printf("]"), print_field("problem", s->problem);
  print_numbers(seat);
  printf(",\"processes\":");
  if (s->processes_reason != PRESENT) print_text(reason_names[s->processes_reason]);
  else {
    printf("[");
    for (size_t i = 0; i < s->process_count; i++) {
      printf("%s[%u,", i > 0 ? "," : "", s->processes[i].pid);
      print_number(s->processes[i].memory_bytes), putchar(']');
    }
    printf("]");
  }
  printf(",\"links\":[");
  for (size_t i = 0; i < s->link_count; i++) {
    printf("%s[\"%s\",", i > 0 ? "," : "", s->links[i].kind);
    print_text(s->links[i].peer), printf(",%u,%d]", s->links[i].count, s->links[i].up);
  }
  printf("]}");
}

static void do_script(const char *path) {
  const char *to = getenv("HARNESS_SCRIPT");
  if (rename(path, to) != 0) abort();
  usleep(2000);  // longer than the fake goes without looking
  printf("null");
}

static void do_open(void) {
  struct vendor_report report = {0};
  bool missing = false;
  session = VENDOR.open(&report, &missing);
  printf("{\"isOpen\":%s,\"missing\":%s", session != NULL ? "true" : "false", missing ? "true" : "false");
  print_field("library", report.library), print_field("driver", report.driver_version);
  print_field("problem", report.problem), putchar('}');
}

static struct seat *find_seat(const char *id) {
  for (size_t i = 0; i < seat_count; i++)
    if (strcmp(seats[i]->device.id, id) == 0) return seats[i];
  return NULL;
}

static struct seat *new_seat(const struct device *device) {
  struct seat *seat = calloc(1, sizeof *seat);
  seat->device = *device;
  for (int i = 0; i < NUMBER_COUNT; i++) sample_absent(&seat->sample, i, NOT_YET);
  for (int i = 0; i < SIGNAL_COUNT; i++) seat->sample.signals[i] = NAN;
  seat->sample.processes_reason = NOT_YET;
  return seat;
}

static void do_list(void) {
  static struct device devices[MAX_DEVICES];
  struct seat *next[MAX_DEVICES];
  struct vendor_report report = {0};
  size_t count = 0;
  memset(devices, 0, sizeof devices);
  enum outcome outcome = VENDOR.enumerate(session, devices, MAX_DEVICES, &count, &report);
  printf("{\"outcome\":\"%s\"", outcome_names[outcome]);
  print_field("problem", report.problem), print_field("driver", report.driver_version);
  printf(",\"devices\":[");
  for (size_t i = 0; i < count; i++) {
    if (i > 0) putchar(',');
    print_device(&devices[i]);
    struct seat *seat = find_seat(devices[i].id);
    next[i] = seat != NULL ? seat : new_seat(&devices[i]);
    if (seat != NULL) VENDOR.release(&devices[i]);
  }
  printf("]}");
  if (outcome != OUTCOME_OK) return;
  for (size_t i = 0; i < seat_count; i++) {
    bool is_kept = false;
    for (size_t k = 0; k < count; k++) is_kept = is_kept || next[k] == seats[i];
    if (is_kept) continue;
    VENDOR.release(&seats[i]->device);
    free(seats[i]);
  }
  memcpy(seats, next, count * sizeof *next);
  seat_count = count;
}

static void do_round(const char *paces) {
  int64_t start_ns = monotonic_ns();
  for (size_t i = 0; i < seat_count; i++)
    for (int pace = 0; pace < PACE_COUNT; pace++)
      if (!seats[i]->is_called && (*paces == '\0' || strchr(paces, '0' + pace) != NULL))
        seats[i]->outcomes[pace] = VENDOR.read(session, &seats[i]->device, (enum pace)pace, &seats[i]->sample);
  printf("{\"ms\":%.3f,\"devices\":[", (double)(monotonic_ns() - start_ns) / 1e6);
  const char *comma = "";
  for (size_t i = 0; i < seat_count; i++) {
    if (seats[i]->is_called) continue;
    printf("%s", comma), print_seat(seats[i]), comma = ",";
  }
  printf("]}");
}

static void *run_read(void *argument) {
  struct seat *seat = argument;
  seat->outcomes[seat->pace] = VENDOR.read(session, &seat->device, seat->pace, &seat->sample);
  return NULL;
}

static void do_begin(size_t index, enum pace pace) {
  seats[index]->pace = pace;
  seats[index]->is_called = true;
  if (pthread_create(&seats[index]->thread, NULL, run_read, seats[index]) != 0) abort();
  printf("null");
}

static void do_end(void) {
  for (size_t i = 0; i < seat_count; i++) {
    if (!seats[i]->is_called) continue;
    pthread_join(seats[i]->thread, NULL);
    seats[i]->is_called = false;
  }
  printf("null");
}

static void do_wait(int ms, unsigned long wanted) {
  struct vendor_event kinds[64];
  unsigned long counts[64] = {0}, came = 0, waits = 0;
  size_t kind_count = 0;
  int64_t start_ns = monotonic_ns();
  int code = 0;
  for (int empty = 0; came < wanted && empty < 3 && code >= 0; waits++) {
    struct vendor_event event;
    code = VENDOR.wait(session, ms, &event);
    empty = code == 0 ? empty + 1 : 0;
    if (code != 1) continue;
    size_t k = 0;
    while (k < kind_count && memcmp(&kinds[k], &event, sizeof event) != 0) k++;
    if (k == 64) continue;
    if (k == kind_count) kinds[kind_count++] = event;
    counts[k] += event.count;
    came += event.count;
  }
  printf("{\"code\":%d,\"waits\":%lu,\"ms\":%.3f,\"events\":[", code, waits, (double)(monotonic_ns() - start_ns) / 1e6);
  for (size_t k = 0; k < kind_count; k++) {
    printf("%s{\"kind\":\"%s\",\"code\":%u,\"count\":%lu", k > 0 ? "," : "", event_names[kinds[k].kind], kinds[k].code,
           counts[k]);
    print_field("id", kinds[k].id), print_field("busId", kinds[k].bus_id), print_field("detail", kinds[k].detail);
    putchar('}');
  }
  printf("]}");
}

static void do_close(void) {
  for (size_t i = 0; i < seat_count; i++) {
    VENDOR.release(&seats[i]->device);
    free(seats[i]);
  }
  seat_count = 0;
  if (session != NULL) VENDOR.close(session, true);
  session = NULL;
  printf("null");
}

int main(void) {
  char line[4096], verb[16];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%15s", verb) != 1) continue;
    const char *rest = line + strlen(verb) + (line[strlen(verb)] == ' ');
    unsigned long a = strtoul(rest, NULL, 10), b = strchr(rest, ' ') != NULL ? strtoul(strchr(rest, ' '), NULL, 10) : 0;
    if (strcmp(verb, "script") == 0) do_script(rest);
    else if (strcmp(verb, "open") == 0) do_open();
    else if (strcmp(verb, "list") == 0) do_list();
    else if (strcmp(verb, "round") == 0) do_round(rest);
    else if (strcmp(verb, "begin") == 0) do_begin(a, (enum pace)b);
    else if (strcmp(verb, "end") == 0) do_end();
    else if (strcmp(verb, "wait") == 0) do_wait((int)a, b);
    else if (strcmp(verb, "sleep") == 0) usleep((useconds_t)a * 1000), printf("null");
    else if (strcmp(verb, "close") == 0) do_close();
    else abort();
    putchar('\n');
    fflush(stdout);
  }
  return 0;
}
