// The example job: a real matrix product C = A·B in FP64, of known cost, verified.
//
//   flopd-matmul [--size N] [--threads N] [--seconds S]
//
// Repeats the product of two N×N matrices until S seconds of computing have passed. FLOP = 2·N³ per product. The first
// and the last product are verified with Freivalds' check: C·r = A·(B·r) for random r. Besides the lines for people it
// appends `flop=<integer> seconds=<compute seconds> precision=fp64` to the file that $FLOPD_METER_FILE names, which is
// how a job tells the meter what it did.
//
// Blocking: each thread owns a range of columns. For a block of KC rows of B it packs its columns, then for MC rows of
// A at a time packs those, both in the order in which the kernel reads them. The kernel keeps a tile of C in registers.
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KC = 256, MC = 96, NC = 384, MAX_ROWS = 8, MAX_COLUMNS = 24, MAX_SIZE = 16384, MAX_THREADS = 1024 };

// Multiplies a packed panel of A (`rows` × depth) with one of B (depth × `columns`) into `tile`, row by row.
typedef void kernel(size_t depth, const double *a, const double *b, double *tile);

struct variant {
  const char *isa;
  bool (*is_supported)(void);
  kernel *multiply;
  size_t rows, columns;
};

// A tile of ROWS × 3 vectors; with 4 rows of 4 (AVX2) that takes 12 of 16 registers, with 8 of 8 (AVX-512) 24 of 32.
#define KERNEL(name, target, bytes, ROWS)                                                     \
  target static void name(size_t depth, const double *a, const double *b, double *tile) {     \
    typedef double vector __attribute__((vector_size(bytes), aligned(8), may_alias));         \
    enum { LANES = bytes / sizeof(double) };                                                  \
    vector sum[ROWS][3] = {{{0}}};                                                            \
    for (size_t k = 0; k < depth; k++, a += ROWS, b += 3 * LANES) {                           \
      vector b0 = *(const vector *)b, b1 = *(const vector *)(b + LANES), b2 = *(const vector *)(b + 2 * LANES); \
      _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++) {                                \
        sum[i][0] += a[i] * b0;                                                               \
        sum[i][1] += a[i] * b1;                                                               \
        sum[i][2] += a[i] * b2;                                                               \
      }                                                                                       \
    }                                                                                         \
    _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++)                                    \
        for (int j = 0; j < 3; j++) *(vector *)(tile + (i * 3 + j) * LANES) = sum[i][j];      \
  }

static bool always(void) { return true; }
#if defined(__x86_64__)
KERNEL(multiply_avx512, __attribute__((target("avx512f"), noinline)), 64, 8)
KERNEL(multiply_avx2, __attribute__((target("avx2,fma"), noinline)), 32, 4)
static bool has_avx512(void) { return __builtin_cpu_supports("avx512f"); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
KERNEL(multiply_128, __attribute__((noinline)), 16, 4)

static const struct variant variants[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, multiply_avx512, 8, 24},
    {"avx2", has_avx2, multiply_avx2, 4, 12},
#endif
#if defined(__aarch64__)
    {"neon", always, multiply_128, 4, 6},
#else
    {"generic", always, multiply_128, 4, 6},
#endif
};

struct product {
  const struct variant *variant;
  size_t size;
  double *a, *b, *c;
  size_t threads;
  pthread_barrier_t begin, end;
  bool is_over;  // written by the main thread between the barriers
};

struct worker {
  struct product *product;
  pthread_t thread;
  size_t first, last;  // columns
  double *packed_a, *packed_b;
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static double now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Panels of `columns` columns, row after row; what is beyond the matrix is zero.
static void pack_b(const struct product *p, size_t k0, size_t depth, size_t j0, size_t width, double *packed) {
  size_t columns = p->variant->columns;
  for (size_t j = 0; j < width; j += columns)
    for (size_t k = 0; k < depth; k++)
      for (size_t c = 0; c < columns; c++)
        *packed++ = j + c < width ? p->b[(k0 + k) * p->size + j0 + j + c] : 0;
}

// Panels of `rows` rows, column after column.
static void pack_a(const struct product *p, size_t i0, size_t height, size_t k0, size_t depth, double *packed) {
  size_t rows = p->variant->rows;
  for (size_t i = 0; i < height; i += rows)
    for (size_t k = 0; k < depth; k++)
      for (size_t r = 0; r < rows; r++)
        *packed++ = i + r < height ? p->a[(i0 + i + r) * p->size + k0 + k] : 0;
}

// Adds a tile to C, or sets it in the first block of rows of B; leaves out what is beyond the matrix.
static void store(double *c, size_t stride, const double *tile, size_t columns, size_t height, size_t width, bool is_first) {
  for (size_t i = 0; i < height; i++)
    for (size_t j = 0; j < width; j++)
      c[i * stride + j] = (is_first ? 0 : c[i * stride + j]) + tile[i * columns + j];
}

static void multiply_block(struct worker *w, size_t k0, size_t depth, size_t j0, size_t width, size_t i0, size_t height) {
  const struct product *p = w->product;
  size_t rows = p->variant->rows, columns = p->variant->columns;
  _Alignas(64) double tile[MAX_ROWS * MAX_COLUMNS];
  for (size_t j = 0; j < width; j += columns) {
    for (size_t i = 0; i < height; i += rows) {
      p->variant->multiply(depth, w->packed_a + i * depth, w->packed_b + j * depth, tile);
      store(p->c + (i0 + i) * p->size + j0 + j, p->size, tile, columns, least(rows, height - i), least(columns, width - j),
            k0 == 0);
    }
  }
}

static void multiply_columns(struct worker *w) {
  const struct product *p = w->product;
  for (size_t j0 = w->first; j0 < w->last; j0 += NC) {
    size_t width = least(NC, w->last - j0);
    for (size_t k0 = 0; k0 < p->size; k0 += KC) {
      size_t depth = least(KC, p->size - k0);
      pack_b(p, k0, depth, j0, width, w->packed_b);
      for (size_t i0 = 0; i0 < p->size; i0 += MC) {
        size_t height = least(MC, p->size - i0);
        pack_a(p, i0, height, k0, depth, w->packed_a);
        multiply_block(w, k0, depth, j0, width, i0, height);
      }
    }
  }
}

static void *work(void *argument) {
  struct worker *w = argument;
  for (;;) {
    pthread_barrier_wait(&w->product->begin);
    if (w->product->is_over) return NULL;
    multiply_columns(w);
    pthread_barrier_wait(&w->product->end);
  }
}

// Random numbers from a counter (splitmix64), so that every run has the same matrices.
static uint64_t random_bits(uint64_t counter) {
  uint64_t z = (counter + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void fill(double *matrix, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) matrix[i] = (double)(random_bits(seed + i) >> 11) * 0x1p-52 - 1;
}

// y = M·x
static void apply(const double *m, size_t n, const double *x, double *y) {
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) sum += m[i * n + j] * x[j];
    y[i] = sum;
  }
}

// Freivalds: with r of ±1 a single wrong element always shows, any other error with probability 1/2 per round. The
// tolerance is far above rounding and far below any element's size.
static bool verify(const struct product *p, uint64_t seed) {
  enum { ROUNDS = 4 };
  size_t n = p->size;
  double *memory = malloc(4 * n * sizeof *memory);
  if (memory == NULL) return false;
  double *r = memory, *br = memory + n, *abr = memory + 2 * n, *cr = memory + 3 * n;
  double tolerance = 1e-14 * (double)n * (double)n + 1e-12;
  bool is_right = true;
  for (uint64_t round = 0; round < ROUNDS && is_right; round++) {
    for (size_t i = 0; i < n; i++) r[i] = random_bits(seed + round * n + i) & 1 ? 1 : -1;
    apply(p->b, n, r, br);
    apply(p->a, n, br, abr);
    apply(p->c, n, r, cr);
    // Written so that a NaN is wrong as well.
    for (size_t i = 0; i < n; i++) is_right = is_right && fabs(abr[i] - cr[i]) <= tolerance;
  }
  free(memory);
  return is_right;
}

static double run_once(struct product *p) {
  double start = now_seconds();
  pthread_barrier_wait(&p->begin);
  pthread_barrier_wait(&p->end);
  double seconds = now_seconds() - start;
#ifdef FLOPD_MATMUL_FAULT
  p->c[p->size * p->size / 2] += 1e-3;  // built so by the test of the check
#endif
  return seconds;
}

static bool start_workers(struct product *p, struct worker *workers) {
  size_t columns = p->variant->columns, panels = (p->size + columns - 1) / columns;
  for (size_t t = 0; t < p->threads; t++) {
    struct worker *w = &workers[t];
    w->product = p;
    w->first = least(p->size, panels * t / p->threads * columns);
    w->last = least(p->size, panels * (t + 1) / p->threads * columns);
    w->packed_a = aligned_alloc(64, (MC + MAX_ROWS) * KC * sizeof(double));
    w->packed_b = aligned_alloc(64, (NC + MAX_COLUMNS) * KC * sizeof(double));
    if (w->packed_a == NULL || w->packed_b == NULL || pthread_create(&w->thread, NULL, work, w) != 0) return false;
  }
  return true;
}

// One write, so that lines of several processes do not mix.
static void append_meter(double flop, double seconds) {
  const char *path = getenv("FLOPD_METER_FILE");
  if (path == NULL || path[0] == '\0') return;
  char line[128];
  int length = snprintf(line, sizeof line, "flop=%.0f seconds=%.6f precision=fp64\n", flop, seconds);
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, line, (size_t)length) != length)
    fprintf(stderr, "flopd-matmul: the meter file %s could not be written: %s\n", path, strerror(errno));
  if (fd >= 0) close(fd);
}

static size_t online_cpus(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return (size_t)sysconf(_SC_NPROCESSORS_ONLN);
  return (size_t)CPU_COUNT(&set);
}

// A number of an option; false unless it is whole text within the bounds.
static bool take_number(const char *text, double min, double max, double *value) {
  char *end;
  if (text == NULL || text[0] == '\0') return false;
  *value = strtod(text, &end);
  return *end == '\0' && *value >= min && *value <= max;
}

static bool take_options(int argc, char **argv, double *size, double *threads, double *seconds) {
  for (int i = 1; i < argc; i += 2) {
    bool known = false;
    if (strcmp(argv[i], "--size") == 0) known = take_number(argv[i + 1], 1, MAX_SIZE, size) && *size == floor(*size);
    if (strcmp(argv[i], "--threads") == 0)
      known = take_number(argv[i + 1], 1, MAX_THREADS, threads) && *threads == floor(*threads);
    if (strcmp(argv[i], "--seconds") == 0) known = take_number(argv[i + 1], 0, 86400, seconds);
    if (!known) return false;
  }
  return true;
}

static int fail(const char *text) {
  fprintf(stderr, "flopd-matmul: %s\n", text);
  return 1;
}

int main(int argc, char **argv) {
  double size = 1024, threads = (double)online_cpus(), limit = 2;
  if (!take_options(argc, argv, &size, &threads, &limit)) {
    fprintf(stderr, "usage: flopd-matmul [--size N (1 to %d)] [--threads N (1 to %d)] [--seconds S (0 to 86400)]\n",
            MAX_SIZE, MAX_THREADS);
    return 2;
  }
  struct product p = {.variant = variants, .size = (size_t)size, .threads = (size_t)threads};
  while (!p.variant->is_supported()) p.variant++;
  size_t count = p.size * p.size;
  p.a = malloc(count * sizeof *p.a);
  p.b = malloc(count * sizeof *p.b);
  p.c = malloc(count * sizeof *p.c);
  struct worker *workers = calloc(p.threads, sizeof *workers);
  if (p.a == NULL || p.b == NULL || p.c == NULL || workers == NULL) return fail("not enough memory for the matrices");
  fill(p.a, count, 0);
  fill(p.b, count, count);
  pthread_barrier_init(&p.begin, NULL, (unsigned)p.threads + 1);
  pthread_barrier_init(&p.end, NULL, (unsigned)p.threads + 1);
  if (!start_workers(&p, workers)) return fail("the threads could not be started");
  printf("matrix product C = A·B, FP64, %zu × %zu, %zu threads, %s\n", p.size, p.size, p.threads, p.variant->isa);
  fflush(stdout);

  double seconds = run_once(&p), products = 1;
  if (!verify(&p, 2 * count)) return fail("the first product is wrong");
  while (seconds < limit) {
    seconds += run_once(&p);
    products++;
  }
  if (products > 1 && !verify(&p, 3 * count)) return fail("the last product is wrong");
  p.is_over = true;
  pthread_barrier_wait(&p.begin);
  for (size_t t = 0; t < p.threads; t++) pthread_join(workers[t].thread, NULL);

  double flop = 2 * size * size * size * products;
  printf("%.0f products, %.6g FLOP in %.3f s: %.2f GFLOP/s, verified\n", products, flop, seconds, flop / seconds / 1e9);
  append_meter(flop, seconds);
  return 0;
}
