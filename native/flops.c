// The kernel is x = x * a + b in independent chains: as many as the latency of the multiply-add times the units that
// do it, so that the units never wait. With a = 1/2 and b = 1 every x goes to 2: no infinity, no denormal, and a
// result that can be checked. One multiply-add counts as 2 FLOP.
#include "flops.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "clock.h"

// Runs `rounds` steps of all chains from `start`; returns the sum of all lanes.
typedef double kernel(uint64_t rounds, double start);

struct variant {
  const char *isa;
  bool (*is_supported)(void);
  kernel *fp64, *fp32;
  unsigned fp64_lanes, fp32_lanes, chains;
};

#define STEP(i) x##i = x##i * a + b;
#define SUM(i) total += x##i;
#define DECLARE(i) vector x##i = zero + (scalar)(start + i);
#define CHAINS_8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define CHAINS_12(X) CHAINS_8(X) X(8) X(9) X(10) X(11)
#define CHAINS_16(X) CHAINS_12(X) X(12) X(13) X(14) X(15)
#define CHAINS_24(X) CHAINS_16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)

// Chains stay in registers: below the 16 (AVX2) or 32 (AVX-512, NEON) that there are. The empty asm keeps the
// compiler from seeing through the loop.
#define KERNEL(name, target, type, bytes, CHAINS)                       \
  target static double name(uint64_t rounds, double start) {            \
    typedef type scalar;                                                \
    typedef type vector __attribute__((vector_size(bytes)));            \
    vector zero = {0}, a = zero + (scalar)0.5, b = zero + (scalar)1;    \
    CHAINS(DECLARE)                                                     \
    for (uint64_t i = 0; i < rounds; i++) {                             \
      CHAINS(STEP)                                                      \
      __asm__ volatile("");                                             \
    }                                                                   \
    vector total = zero;                                                \
    CHAINS(SUM)                                                         \
    double sum = 0;                                                     \
    for (size_t i = 0; i < bytes / sizeof(scalar); i++) sum += (double)total[i]; \
    return sum;                                                         \
  }

#if defined(__x86_64__)
#define AVX512 __attribute__((target("avx512f"), noinline))
#define AVX2 __attribute__((target("avx2,fma"), noinline))
KERNEL(fp64_avx512, AVX512, double, 64, CHAINS_24)
KERNEL(fp32_avx512, AVX512, float, 64, CHAINS_24)
KERNEL(fp64_avx2, AVX2, double, 32, CHAINS_12)
KERNEL(fp32_avx2, AVX2, float, 32, CHAINS_12)
static bool has_avx512(void) { return __builtin_cpu_supports("avx512f"); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

// 16 bytes are NEON on aarch64, where the multiply-add is always fused, and SSE2 on x86-64, where it is two steps.
KERNEL(fp64_generic, __attribute__((noinline)), double, 16, CHAINS_12)
KERNEL(fp32_generic, __attribute__((noinline)), float, 16, CHAINS_12)
#if defined(__aarch64__)
KERNEL(fp64_neon, __attribute__((noinline)), double, 16, CHAINS_24)
KERNEL(fp32_neon, __attribute__((noinline)), float, 16, CHAINS_24)
#endif
static bool always(void) { return true; }

static const struct variant variants[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, fp64_avx512, fp32_avx512, 8, 16, 24},
    {"avx2", has_avx2, fp64_avx2, fp32_avx2, 4, 8, 12},
#endif
#if defined(__aarch64__)
    {"neon", always, fp64_neon, fp32_neon, 2, 4, 24},
#endif
    {"generic", always, fp64_generic, fp32_generic, 2, 4, 12},
};

static const uint64_t ROUNDS = 50000;  // between two looks at the clock: some tens of microseconds

struct crew;
struct worker {
  struct crew *crew;
  pthread_t thread;
  double flops;
};

struct crew {
  const struct variant *variant;
  bool is_double;
  int64_t duration_ns;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned ready, expected;
  bool is_cancelled;
  struct worker *workers;
};

// Waits until all threads run, so that none has the machine to itself. False when one could not be started.
static bool wait_for_all(struct crew *crew) {
  pthread_mutex_lock(&crew->lock);
  crew->ready++;
  pthread_cond_broadcast(&crew->changed);
  while (crew->ready < crew->expected && !crew->is_cancelled) pthread_cond_wait(&crew->changed, &crew->lock);
  bool go = !crew->is_cancelled;
  pthread_mutex_unlock(&crew->lock);
  return go;
}

static void *work(void *argument) {
  struct worker *worker = argument;
  struct crew *crew = worker->crew;
  const struct variant *v = crew->variant;
  kernel *run = crew->is_double ? v->fp64 : v->fp32;
  unsigned lanes = crew->is_double ? v->fp64_lanes : v->fp32_lanes;
  if (!wait_for_all(crew)) return NULL;
  run(ROUNDS, 1);  // wakes the wide units and the clock
  bool is_right = true;
  uint64_t rounds = 0;
  int64_t start_ns = monotonic_ns(), now_ns = start_ns;
  while (now_ns - start_ns < crew->duration_ns) {
    double sum = run(ROUNDS, 1);
    is_right = is_right && fabs(sum - 2.0 * v->chains * lanes) < 1e-3 * v->chains * lanes;
    rounds += ROUNDS;
    now_ns = monotonic_ns();
  }
  double flop = 2.0 * (double)rounds * v->chains * lanes;
  worker->flops = is_right && now_ns > start_ns ? flop * 1e9 / (double)(now_ns - start_ns) : NAN;
  return NULL;
}

static unsigned start_workers(struct crew *crew, unsigned threads) {
  for (unsigned i = 0; i < threads; i++) {
    crew->workers[i].crew = crew;
    if (pthread_create(&crew->workers[i].thread, NULL, work, &crew->workers[i]) != 0) {
      pthread_mutex_lock(&crew->lock);
      crew->is_cancelled = true;
      pthread_cond_broadcast(&crew->changed);
      pthread_mutex_unlock(&crew->lock);
      return i;
    }
  }
  return threads;
}

int flops_measure(bool is_double, unsigned threads, unsigned duration_ms, double *flops, const char **isa) {
  const struct variant *variant = variants;
  while (!variant->is_supported()) variant++;
  struct crew crew = {.variant = variant, .is_double = is_double, .duration_ns = (int64_t)duration_ms * 1000000,
                      .expected = threads, .workers = calloc(threads, sizeof(struct worker))};
  if (crew.workers == NULL) return -ENOMEM;
  pthread_mutex_init(&crew.lock, NULL);
  pthread_cond_init(&crew.changed, NULL);
  unsigned started = start_workers(&crew, threads);
  *flops = 0;
  *isa = variant->isa;
  for (unsigned i = 0; i < started; i++) {
    pthread_join(crew.workers[i].thread, NULL);
    *flops += crew.workers[i].flops;
  }
  pthread_cond_destroy(&crew.changed);
  pthread_mutex_destroy(&crew.lock);
  free(crew.workers);
  if (started < threads) return -EAGAIN;
  return isfinite(*flops) ? 0 : -EIO;
}
