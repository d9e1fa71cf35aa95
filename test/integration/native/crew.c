// The reader and its crew over the synthetic vendor, under ThreadSanitizer or AddressSanitizer: hangs, losses, a driver
// that goes away, a flood of events, closing under a hang. Prints "well" at its end, or what was not so and exits 1.
//
//   crew FOLDER [SEED]      an empty folder for the script; also the root of its /sys
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../fakes/vendor/synthetic.h"
#include "clock.h"
#include "reader.h"
#include "row.h"

enum { DEVICES = 3, PERIOD_MS = 20, MAX_COLUMNS = 4096 };
static const double PATIENCE = 20;  // seconds; sanitizers and busy machines are slow

static const char *folder;
static atomic_int wakes;
static double header[HEADER_LENGTH], values[MAX_COLUMNS * WINDOW_STATISTICS];
static uint8_t reasons[MAX_COLUMNS];
static struct column columns[MAX_COLUMNS];
static size_t column_count;
static double late_ticks, ticks;

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void script(const char *name, int on) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (!on) unlink(path);
  else close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static int count_in(const char *path) {
  DIR *list = opendir(path);
  int count = 0;
  while (readdir(list) != NULL) count++;
  closedir(list);
  return count;
}

// Ours: a sanitizer has one of its own.
static int threads(void) {
  DIR *list = opendir("/proc/self/task");
  int count = 0;
  for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
    char path[300], name[16] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, name, sizeof name - 1) < 0) name[0] = '\0';
    if (fd >= 0) close(fd);
    count += strncmp(name, "flopd-", 6) == 0;
  }
  closedir(list);
  return count;
}
static int descriptors(void) { return count_in("/proc/self/fd"); }

static bool wake(void) {
  atomic_fetch_add(&wakes, 1);
  return true;
}

static void open_it(void) {
  static const char *const vendors[] = {"synthetic", NULL};
  struct reader_options options = {folder, folder, PERIOD_MS, vendors, NULL, wake, &options};
  int error = reader_open(&options);
  if (error != 0) fail("reader_open: %d", error);
}

static void learn(void) {
  struct generation_columns given;
  reader_columns(&given);
  column_count = given.count;
  memcpy(columns, given.columns, given.count * sizeof *columns);
  reader_columns_done(&given);
}

static void take(void) {
  for (int attempt = 0; attempt < 4; attempt++) {
    for (size_t i = 0; i < column_count; i++) reasons[i] = 255;
    int64_t start_ns = monotonic_ns();
    int count = reader_take(header, values, MAX_COLUMNS * WINDOW_STATISTICS, reasons, MAX_COLUMNS);
    if (monotonic_ns() - start_ns > 500000000) fail("taking a window took %f s", (double)(monotonic_ns() - start_ns) / 1e9);
    if (count == (int)column_count && (count == 0 || reasons[0] != 255)) {
      late_ticks += header[HEADER_LATE_TICKS];
      ticks += header[HEADER_TICKS];
      return;
    }
    learn();
  }
  fail("no window is written");
}

// The reason of the family's column of the device by its place, or -1.
static int reason_of(int index, enum family family) {
  int32_t lowest = INT32_MAX;
  for (size_t i = 0; i < column_count; i++)
    if (columns[i].device >= 0 && columns[i].device < lowest) lowest = columns[i].device;
  for (size_t i = 0; i < column_count; i++)
    if (columns[i].device == lowest + index && columns[i].family == family) return reasons[i];
  return -1;
}

static int busy(int index) { return reason_of(index, ACCELERATOR_BUSY_RATIO); }

// Takes windows until the busy ratio of a device has this reason. With `siblings` the others must be present all the time.
static double until_reason(const char *what, int index, int reason, bool siblings) {
  double start = (double)monotonic_ns() / 1e9;
  for (;;) {
    take();
    for (int i = 0; siblings && i < DEVICES; i++)
      if (i != index && busy(i) != PRESENT) fail("%s: its sibling %d has the reason %d", what, i, busy(i));
    double waited = (double)monotonic_ns() / 1e9 - start;
    if (busy(index) == reason) return waited;
    if (waited > PATIENCE) fail("%s: device %d has the reason %d, not %d", what, index, busy(index), reason);
    usleep(PERIOD_MS * 1000);
  }
}

static void until_all(const char *what, int reason) {
  for (int i = 0; i < DEVICES; i++) until_reason(what, i, reason, false);
}

// Takes the events and counts those of a kind of a device; all of them are added up.
static unsigned long events(const char *kind) {
  size_t length;
  char *text = reader_device_events(&length), wanted[64];
  unsigned long sum = 0;
  snprintf(wanted, sizeof wanted, "\"kind\":\"%s\"", kind);
  for (const char *at = text; (at = strstr(at, wanted)) != NULL; at++) {
    const char *count = strstr(at, "\"count\":");
    if (count != NULL) sum += strtoul(count + strlen("\"count\":"), NULL, 10);
  }
  free(text);
  return sum;
}

static void until_events(const char *kind, unsigned long count) {
  unsigned long seen = 0;
  for (double waited = 0; (seen += events(kind)) < count; waited += 0.01) {
    if (waited > PATIENCE) fail("%lu events %s, not %lu", seen, kind, count);
    usleep(10000);
  }
  if (seen != count) fail("%lu events %s, not %lu", seen, kind, count);
}

static void until_threads(const char *what, int most) {
  for (double waited = 0; threads() > most; waited += 0.01) {
    if (waited > PATIENCE) fail("%s: %d threads, not %d", what, threads(), most);
    usleep(10000);
  }
}

static void test_hang(int usual) {
  script("hang-1", 1);
  double late = until_reason("a hang", 1, LATE, true);
  if (threads() > usual + 1) fail("%d threads while one call hangs, %d without", threads(), usual);
  unsigned long reads = atomic_load(&synthetic_reads);
  for (int i = 0; i < 100; i++) {
    take();
    if (busy(1) != LATE || busy(0) != PRESENT || busy(2) != PRESENT) fail("a hang: %d %d %d", busy(0), busy(1), busy(2));
    usleep(PERIOD_MS * 1000);
  }
  if (atomic_load(&synthetic_reads) < reads + 60) fail("the siblings are read no more");
  if (threads() > usual + 1) fail("%d threads after two seconds of a hang", threads());
  size_t length;
  char *text = reader_devices(&length);
  if (strstr(text, "has not come back") == NULL) fail("the report does not tell of the hang: %s", text);
  free(text);
  script("hang-1", 0);
  until_reason("after a hang", 1, PRESENT, true);
  until_threads("after a hang", usual);
  printf("late after %.2f s\n", late);
}

static void test_all_hang(int usual) {
  script("hang-0", 1), script("hang-1", 1), script("hang-2", 1);
  until_all("a driver that hangs", LATE);
  script("hang-0", 0), script("hang-1", 0), script("hang-2", 0);
  until_all("after a driver that hung", PRESENT);
  until_threads("after a driver that hung", usual);
  script("hang-enumerate", 1);
  for (int i = 0; i < 12 * 50; i++) {
    take();
    if (busy(0) != PRESENT || busy(1) != PRESENT) fail("a hung enumeration: %d %d", busy(0), busy(1));
    usleep(PERIOD_MS * 1000);
  }
  if (threads() > usual + 1) fail("%d threads after a hung enumeration", threads());
  script("hang-enumerate", 0);
  until_threads("after a hung enumeration", usual);
}

static void test_lost(void) {
  events("lost");
  script("lost-2", 1);
  until_reason("a lost device", 2, LOST, true);
  until_events("lost", 1);
  script("lost-2", 0);
  until_reason("a device that came back", 2, PRESENT, true);
  until_events("returned", 1);
  script("denied-0", 1);
  until_reason("a denied device", 0, DENIED, true);
  script("denied-0", 0);
  script("failed-1", 1);
  until_reason("after a denial", 0, PRESENT, false);
  until_reason("a device that fails", 1, ERROR, true);
  script("failed-1", 0);
  until_reason("after a failure", 1, PRESENT, true);
}

static void test_driver(int usual) {
  events("lost");
  script("gone", 1);
  until_all("a driver that is gone", LOST);
  until_events("lost", DEVICES);
  for (double waited = 0; atomic_load(&synthetic_sessions) > 0; waited += 0.01) {
    if (waited > PATIENCE) fail("the session of a driver that is gone stays open");
    usleep(10000);
  }
  script("gone", 0);
  until_all("a driver that is back", PRESENT);
  until_events("returned", DEVICES);
  // It goes away while a call hangs: that session stays, and a new one stands beside it.
  script("hang-1", 1);
  until_reason("a hang", 1, LATE, true);
  script("gone", 1);
  until_reason("a driver that is gone under a hang", 0, LOST, false);
  script("gone", 0);
  until_reason("a driver that is back under a hang", 0, PRESENT, false);
  if (atomic_load(&synthetic_sessions) != 2) fail("%d sessions, not 2", atomic_load(&synthetic_sessions));
  script("hang-1", 0);
  until_all("a driver that is back after a hang", PRESENT);
  until_threads("a driver that is back", usual);
  if (atomic_load(&synthetic_sessions) != 1) fail("%d sessions, not 1", atomic_load(&synthetic_sessions));
}

static void test_flood(void) {
  events("ecc");
  unsigned long before = atomic_load(&synthetic_events);
  int woken = atomic_load(&wakes);
  script("flood", 1);
  // The flood is measured by what it brings, so that a slow machine has it as well.
  while (atomic_load(&synthetic_events) < before + 10000) {
    take();
    if (busy(0) != PRESENT || busy(1) != PRESENT) fail("a flood: %d %d", busy(0), busy(1));
    usleep(PERIOD_MS * 1000);
  }
  if (atomic_load(&wakes) > woken + 1) fail("%d wakes by one flood", atomic_load(&wakes) - woken);
  script("flood", 0);
  usleep(300000);
  unsigned long told = atomic_load(&synthetic_events) - before, counted = events("ecc");
  if (told != counted) fail("%lu events were told and %lu counted", told, counted);
}

static void test_absent(void) {
  script("absent-1", 1);
  until_reason("a device that is listed no more", 1, LOST, true);
  script("absent-1", 0);
  until_reason("a device that is listed again", 1, PRESENT, true);
}

// Anything at any time; the synthetic vendor aborts when the crew breaks the contract.
static void test_anything(int usual, unsigned seed) {
  static const char *const names[] = {"hang-0", "hang-1", "hang-2",   "lost-0",   "lost-1",         "denied-2", "failed-0",
                                      "gone",   "flood",  "absent-2", "absent-0", "hang-enumerate", "hang-open"};
  enum { NAMES = sizeof names / sizeof *names };
  int hung = 0;
  for (int i = 0; i < 150; i++) {
    seed = seed * 1103515245 + 12345;
    script(names[(seed >> 16) % NAMES], (seed >> 8) % 3 == 0);
    take();
    hung = threads() > hung ? threads() : hung;
    usleep((seed >> 20) % 80 * 1000);
  }
  // One for each device, one for the enumeration, and the listener of a session that is gone.
  if (hung > usual + DEVICES + 2) fail("%d threads, %d without trouble", hung, usual);
  for (size_t i = 0; i < NAMES; i++) script(names[i], 0);
  until_all("after all sorts of trouble", PRESENT);
  until_threads("after all sorts of trouble", usual);
  if (atomic_load(&synthetic_sessions) != 1) fail("%d sessions, not 1", atomic_load(&synthetic_sessions));
}

static void test_close_under_hang(void) {
  open_it();
  until_all("before closing", PRESENT);
  script("hang-0", 1);
  until_reason("a hang", 0, LATE, true);
  int64_t start_ns = monotonic_ns();
  reader_close();
  if (monotonic_ns() - start_ns > 1500000000) fail("closing under a hang took %f s", (double)(monotonic_ns() - start_ns) / 1e9);
  if (atomic_load(&synthetic_sessions) != 1) fail("the session was closed under a call");
  script("hang-0", 0);
  until_threads("after closing under a hang", 0);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  folder = argv[1];
  setenv("SYNTHETIC", folder, 1);
  int fd_count = descriptors();
  open_it();
  until_all("at the start", PRESENT);
  // The columns that are found by the first slow read.
  while (reason_of(0, ACCELERATOR_FAN_RATIO) != PRESENT) take(), usleep(10000);
  if (reason_of(1, ACCELERATOR_FAN_RATIO) != -1) fail("a column of a number that is not found");
  if (reason_of(0, ACCELERATOR_MEMORY_BUSY_RATIO) != UNSUPPORTED) fail("a number that is not supported");
  if (reason_of(0, ACCELERATOR_POWER_WATTS) != ERROR) fail("a number that is none");
  if (reason_of(0, ACCELERATOR_CLOCK_HERTZ) != NOT_YET) fail("a number that is never read");
  int usual = threads();
  test_hang(usual);
  test_lost();
  test_flood();
  test_driver(usual);
  test_all_hang(usual);
  test_absent();
  test_anything(usual, argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1);
  // Its tick waits for nobody: what was late is what the machine kept from it.
  if (late_ticks > ticks / 4) fail("%.0f ticks of the reader were late, %.0f were not", late_ticks, ticks);
  int64_t start_ns = monotonic_ns();
  reader_close();
  printf("closed after %.2f s\n", (double)(monotonic_ns() - start_ns) / 1e9);
  until_threads("after closing", 0);
  test_close_under_hang();
  if (atomic_load(&synthetic_sessions) != 0 || atomic_load(&synthetic_extras) != 0 || atomic_load(&synthetic_calls) != 0)
    fail("left: %d sessions, %d devices, %d calls", atomic_load(&synthetic_sessions), atomic_load(&synthetic_extras),
         atomic_load(&synthetic_calls));
  if (descriptors() != fd_count) fail("%d descriptors, not %d", descriptors(), fd_count);
  printf("well\n");
  return 0;
}
