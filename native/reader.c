// The reader thread and its windows.
//
// Threads: the reader thread alone touches the parts of the host and the row. It folds the row into the active window
// under `lock`, held for some microseconds. A JavaScript thread takes a window by swapping the two of the generation
// under the same lock and reads the other one afterwards, so neither ever waits for a file.
// Ownership: a reader and a generation live while someone holds a reference. A thread that hangs in a read keeps its
// reader; closing lets go of ours after a moment.
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"
#include "generation.h"
#include "host/host.h"
#include "spawn.h"
#include "vendor/part.h"

enum { MAX_PARTS = 32 };

static const size_t SCRATCH_SIZE = 4 << 20;            // of address space; pages come into being as they are used
static const int64_t FIRST_TICK_WAIT_NS = 1000000000;  // how long openReader waits for the first look at the host
static const int64_t CLOSE_WAIT_NS = 2000000000;       // how long closeReader waits for a read that hangs
static const int64_t LATE_NS = 500000000;              // on top of two periods: see is_late
// In ticks, but never more seldom than in time.
static const int64_t SLOW_TICKS = 10, SLOW_NS = 1000000000;        // sensors and cgroup
static const int64_t CHANGE_TICKS = 50, CHANGE_NS = 5000000000;    // least time between two generations
static const int64_t SCAN_TICKS = 100, SCAN_NS = 10000000000;      // looks for what no tick would notice

struct reader {
  pthread_mutex_t lock;
  pthread_cond_t wake;   // the thread waits here for its next tick; signalled to stop it
  pthread_cond_t ended;  // the first tick is done, or the thread is at its end
  unsigned references;   // of the registry, of the thread and of an open in progress
  bool stopping, is_ended;
  const void *owner;
  struct crew *crew;     // of the devices
  char *proc_root, *sys_root;
  int64_t period_ns;

  // Of the thread alone.
  struct roots roots;
  void *states[MAX_PARTS];
  struct device_part *devices;
  struct row *row;
  int64_t next_scan_ns, next_change_ns, last_cpu_ns;

  // Under the lock.
  struct generation *generation;
  uint32_t generations, told;  // the number of the latest, and of the one whose columns were asked for
  uint64_t sequence;
  int64_t last_tick_ns, late_since_take;
};

// At most one reader per process, whichever JavaScript thread opened it. INVARIANT: the reader thread never takes the
// registry's lock, and nobody waits while holding it.
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct reader *open_reader;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The thread.

static void close_host(struct reader *r) {
  for (size_t i = 0; host_parts[i] != NULL; i++)
    if (r->states[i] != NULL) host_parts[i]->close(r->states[i]);
  if (r->devices != NULL) device_part_close(r->devices);
  if (r->roots.proc >= 0) close(r->roots.proc);
  if (r->roots.sys >= 0) close(r->roots.sys);
  if (r->roots.scratch != MAP_FAILED) munmap(r->roots.scratch, r->roots.scratch_size);
  free(r->row);
}

static bool open_host(struct reader *r) {
  r->roots.proc = open(r->proc_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  r->roots.sys = open(r->sys_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  r->roots.scratch_size = SCRATCH_SIZE;
  r->roots.scratch =
      mmap(NULL, SCRATCH_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (r->roots.scratch == MAP_FAILED) return false;
  for (size_t i = 0; host_parts[i] != NULL && i < MAX_PARTS; i++) {
    r->states[i] = host_parts[i]->open(&r->roots);
    if (r->states[i] == NULL) return false;
  }
  r->devices = device_part_open(r->crew);
  return r->devices != NULL;
}

// Looks at what is there; makes a new generation if the columns differ. Without memory the old one stays.
static void scan(struct reader *r, int64_t now_ns) {
  bool force = r->row != NULL && r->row->stale;
  struct row *row = row_new();
  if (row == NULL) return;
  for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->scan(r->states[i], force);
  for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->announce(r->states[i], row);
  device_part_announce(r->devices, row);
  r->next_scan_ns = now_ns + least(SCAN_TICKS * r->period_ns, SCAN_NS);
  r->next_change_ns = now_ns + least(CHANGE_TICKS * r->period_ns, CHANGE_NS);
  // While vendors' libraries are being opened, their devices get columns as soon as they are known.
  if (device_part_is_settling(r->devices, now_ns)) r->next_change_ns = now_ns - SLOW_NS;
  // INVARIANT: equal columns are announced at equal places, so the parts fit the old row as well.
  if (r->row != NULL && row_same_columns(r->row, row)) {
    r->row->stale = false;
    free(row);
    return;
  }
  struct generation *g = generation_new(row, r->generations + 1, r->last_tick_ns != 0 ? r->last_tick_ns : now_ns);
  if (g == NULL) {
    // The parts have moved on to the new places; keep them and publish nothing until there is memory.
    r->next_scan_ns = r->next_change_ns = now_ns;
    row->stale = true;
  }
  free(r->row);
  r->row = row;
  pthread_mutex_lock(&r->lock);
  generation_release(r->generation);
  r->generation = g;
  if (g != NULL) r->generations = g->number;
  pthread_mutex_unlock(&r->lock);
}

static bool is_scan_due(const struct reader *r, int64_t now_ns, bool window_is_new) {
  if (r->row == NULL) return true;
  // A new generation begins with a window where that can be had soon, so that little of one is lost.
  if (r->row->stale) return now_ns >= r->next_change_ns && (window_is_new || now_ns >= r->next_change_ns + SLOW_NS);
  return now_ns >= r->next_scan_ns;
}

// Hot: every tick. No allocation unless a scan is due.
static void tick(struct reader *r, int64_t now_ns, int64_t missed) {
  pthread_mutex_lock(&r->lock);
  bool window_is_new = r->generation == NULL || r->generation->active->ticks == 0;
  pthread_mutex_unlock(&r->lock);
  if (is_scan_due(r, now_ns, window_is_new)) scan(r, now_ns);
  if (r->row == NULL) return;

  int64_t elapsed_ns = r->last_tick_ns != 0 ? now_ns - r->last_tick_ns : r->period_ns;
  struct tick tick = {now_ns, (double)elapsed_ns / 1e9, least(SLOW_TICKS * r->period_ns, SLOW_NS)};
  for (size_t i = 0; i < r->row->count; i++) r->row->weights[i] = tick.elapsed;
  for (size_t i = 0; host_parts[i] != NULL; i++) host_parts[i]->read(r->states[i], r->row, &tick);
  device_part_read(r->devices, r->row, now_ns, tick.elapsed);
  spawn_reap();

  int64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  pthread_mutex_lock(&r->lock);
  r->last_tick_ns = now_ns;
  if (r->generation != NULL) {
    struct window *window = r->generation->active;
    window_fold(window, r->row);
    window->end_ns = now_ns;
    window->busy_ns += cpu_ns - r->last_cpu_ns;
    window->late_ticks += (uint64_t)missed;
  }
  pthread_mutex_unlock(&r->lock);
  r->last_cpu_ns = cpu_ns;
}

static void reader_release(struct reader *r) {
  pthread_mutex_lock(&r->lock);
  unsigned left = --r->references;
  if (left == 0) generation_release(r->generation);
  pthread_mutex_unlock(&r->lock);
  if (left > 0) return;
  pthread_cond_destroy(&r->wake);
  pthread_cond_destroy(&r->ended);
  pthread_mutex_destroy(&r->lock);
  crew_release(r->crew);
  free(r->proc_root);
  free(r->sys_root);
  free(r);
}

// Waits for an absolute time; false when the reader shall stop.
static bool wait_until(struct reader *r, int64_t deadline_ns) {
  struct timespec deadline = timespec_of_ns(deadline_ns);
  pthread_mutex_lock(&r->lock);
  int error = 0;
  while (!r->stopping && error != ETIMEDOUT) error = pthread_cond_timedwait(&r->wake, &r->lock, &deadline);
  bool go_on = !r->stopping;
  pthread_mutex_unlock(&r->lock);
  return go_on;
}

static void *run(void *argument) {
  struct reader *r = argument;
  prctl(PR_SET_NAME, "flopd-reader");
  bool is_open = open_host(r);
  int64_t deadline_ns = monotonic_ns(), missed = 0;
  bool go_on = is_open;
  for (bool first = true; go_on; first = false) {
    int64_t now_ns = monotonic_ns();
    tick(r, now_ns, missed);
    if (first) {
      pthread_mutex_lock(&r->lock);
      pthread_cond_broadcast(&r->ended);
      pthread_mutex_unlock(&r->lock);
    }
    // Deadlines are absolute, so ticks do not drift; those that a stall swallowed are skipped and counted.
    deadline_ns += r->period_ns;
    now_ns = monotonic_ns();
    missed = now_ns > deadline_ns ? (now_ns - deadline_ns) / r->period_ns : 0;
    deadline_ns += missed * r->period_ns;
    go_on = wait_until(r, deadline_ns);
  }
  close_host(r);
  pthread_mutex_lock(&r->lock);
  r->is_ended = true;
  pthread_cond_broadcast(&r->ended);
  pthread_mutex_unlock(&r->lock);
  reader_release(r);
  return NULL;
}

// The border.

static struct reader *reader_new(const struct reader_options *options) {
  struct reader *r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  r->period_ns = (int64_t)options->period_ms * 1000000;
  r->proc_root = strdup(options->proc_root);
  r->sys_root = strdup(options->sys_root);
  struct crew_options crew = {options->vendors, options->kernel_log, options->proc_root, r->period_ns, options->wake};
  if (r->proc_root != NULL && r->sys_root != NULL) r->crew = crew_start(&crew);
  if (r->crew == NULL) {
    free(r->proc_root);
    free(r->sys_root);
    free(r);
    return NULL;
  }
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&r->wake, &attributes);
  pthread_cond_init(&r->ended, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&r->lock, NULL);
  r->owner = options->owner;
  r->references = 3;
  r->roots.proc = r->roots.sys = -1;
  r->roots.scratch = MAP_FAILED;
  return r;
}

// Starts the thread with all signals blocked, so that they go to Node's threads. It is never joined: a read that
// hangs must not hang whoever closes.
static int start_thread(struct reader *r) {
  pthread_t thread;
  pthread_attr_t attributes;
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, &attributes, run, r);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return -error;
}

int reader_open(const struct reader_options *options) {
  pthread_mutex_lock(&registry);
  struct reader *r = open_reader == NULL ? reader_new(options) : NULL;
  int error = r != NULL ? start_thread(r) : open_reader != NULL ? -EBUSY : -ENOMEM;
  if (error != 0 && r != NULL) {
    crew_stop(r->crew);
    r->references = 1;
    reader_release(r);
  }
  if (error == 0) open_reader = r;
  pthread_mutex_unlock(&registry);
  if (error != 0) return error;

  struct timespec deadline = timespec_of_ns(monotonic_ns() + FIRST_TICK_WAIT_NS);
  pthread_mutex_lock(&r->lock);
  for (int waited = 0; r->last_tick_ns == 0 && !r->is_ended && waited == 0;)
    waited = pthread_cond_timedwait(&r->ended, &r->lock, &deadline);
  bool failed = r->is_ended && r->last_tick_ns == 0 && !r->stopping;
  pthread_mutex_unlock(&r->lock);
  reader_release(r);
  if (failed) reader_close_owned(options->owner);  // the thread ends before its first tick only without memory
  return failed ? -ENOMEM : 0;
}

int reader_columns(struct generation_columns *columns) {
  memset(columns, 0, sizeof *columns);
  pthread_mutex_lock(&registry);
  struct reader *r = open_reader;
  if (r != NULL) {
    pthread_mutex_lock(&r->lock);
    struct generation *g = r->generation;
    if (g != NULL) {
      atomic_fetch_add(&g->references, 1);
      r->told = g->number;
      *columns = (struct generation_columns){g, g->count, g->columns};
    }
    pthread_mutex_unlock(&r->lock);
  }
  pthread_mutex_unlock(&registry);
  return r != NULL ? 0 : -EBADF;
}

// The reader is late when its last tick is older than two periods and half a second. That is longer than a busy
// machine keeps a thread waiting, and shorter than a window of one second: a value is never shown twice.
static bool is_late(const struct reader *r, int64_t now_ns) {
  return r->last_tick_ns != 0 && now_ns - r->last_tick_ns > 2 * r->period_ns + LATE_NS;
}

static void write_header(double header[HEADER_LENGTH], const struct reader *r, const struct window *w, int64_t now_ns) {
  header[HEADER_GENERATION] = r->generation->number;
  header[HEADER_SEQUENCE] = (double)r->sequence;
  header[HEADER_TICKS] = (double)w->ticks;
  header[HEADER_START_NS] = (double)w->start_ns;
  header[HEADER_END_NS] = (double)(w->ticks > 0 ? w->end_ns : now_ns);
  header[HEADER_BUSY_NS] = (double)w->busy_ns;
  header[HEADER_LATE_TICKS] = (double)w->late_ticks;
  header[HEADER_DEVICE_REVISION] = (double)crew_revision();
}

int reader_take(double header[HEADER_LENGTH], double *values, size_t values_length, uint8_t *reasons, size_t reasons_length) {
  // The registry's lock keeps a second taker away from the window that is being written out.
  pthread_mutex_lock(&registry);
  struct reader *r = open_reader;
  if (r == NULL) {
    pthread_mutex_unlock(&registry);
    return -EBADF;
  }
  pthread_mutex_lock(&r->lock);
  struct generation *g = r->generation;
  int64_t now_ns = monotonic_ns();
  if (g == NULL) {
    memset(header, 0, HEADER_LENGTH * sizeof *header);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&registry);
    return 0;
  }
  struct window *taken = g->active;
  bool fits = g->number == r->told && values_length / WINDOW_STATISTICS >= g->count && reasons_length >= g->count;
  bool late = is_late(r, now_ns);
  if (fits) r->sequence++;
  write_header(header, r, taken, now_ns);
  if (fits) {
    g->active = taken == &g->windows[0] ? &g->windows[1] : &g->windows[0];
    window_start(g->active, taken, (int64_t)header[HEADER_END_NS]);
    atomic_fetch_add(&g->references, 1);
  }
  pthread_mutex_unlock(&r->lock);
  int count = (int)g->count;
  if (fits) {
    window_write(taken, g->columns, late, values, reasons);
    generation_release(g);
  }
  pthread_mutex_unlock(&registry);
  return count;
}

void reader_columns_done(struct generation_columns *columns) {
  generation_release(columns->generation);
  columns->generation = NULL;
}

// The crew of the open reader, held; NULL without one.
static struct crew *hold_crew(void) {
  pthread_mutex_lock(&registry);
  struct crew *crew = open_reader != NULL ? open_reader->crew : NULL;
  if (crew != NULL) crew_hold(crew);
  pthread_mutex_unlock(&registry);
  return crew;
}

static char *copy_text(const char *text, size_t *length) {
  *length = strlen(text);
  return strdup(text);
}

char *reader_devices(size_t *length) {
  struct crew *crew = hold_crew();
  if (crew == NULL) return copy_text("{\"revision\":0,\"vendors\":[],\"devices\":[]}", length);
  char *text = crew_report(crew, length);
  crew_release(crew);
  return text;
}

char *reader_device_events(size_t *length) {
  struct crew *crew = hold_crew();
  if (crew == NULL) return copy_text("[]", length);
  char *text = crew_events(crew, length);
  crew_release(crew);
  return text;
}

static void close_reader(struct reader *r) {
  crew_stop(r->crew);
  struct timespec deadline = timespec_of_ns(monotonic_ns() + CLOSE_WAIT_NS);
  pthread_mutex_lock(&r->lock);
  r->stopping = true;
  pthread_cond_signal(&r->wake);
  for (int waited = 0; !r->is_ended && waited == 0;) waited = pthread_cond_timedwait(&r->ended, &r->lock, &deadline);
  pthread_mutex_unlock(&r->lock);
  crew_join(r->crew);
  reader_release(r);
}

void reader_close(void) { reader_close_owned(NULL); }

void reader_close_owned(const void *owner) {
  pthread_mutex_lock(&registry);
  struct reader *r = open_reader;
  if (r != NULL && owner != NULL && r->owner != owner) r = NULL;
  if (r != NULL) open_reader = NULL;
  pthread_mutex_unlock(&registry);
  if (r != NULL) close_reader(r);
}
