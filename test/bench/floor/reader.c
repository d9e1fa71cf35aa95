// The floor of the agent's host reading: the same files, read whole through kept-open descriptors at the same pace,
// and nothing more: no parsing, no windows, no process around it.
//
//   reader SECONDS [PERIOD_MS]
//
// At its end it prints `cpuSeconds=… ticks=… rssBytes=…`.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char *const paths[] = {"/proc/stat",          "/proc/loadavg",  "/proc/meminfo",   "/proc/pressure/cpu",
                                    "/proc/pressure/memory", "/proc/pressure/io", "/proc/diskstats", "/proc/net/dev"};
enum { FILES = sizeof paths / sizeof *paths };

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void read_whole(int fd, char *memory, size_t size) {
  for (size_t length = 0; length < size;) {
    ssize_t got = pread(fd, memory + length, size - length, (off_t)length);
    if (got <= 0) return;
    length += (size_t)got;
  }
}

int main(int argc, char **argv) {
  static char memory[1 << 20];
  double seconds = argc > 1 ? atof(argv[1]) : 0;
  long period_ms = argc > 2 ? atol(argv[2]) : 100;
  if (!(seconds > 0) || period_ms < 1) {
    fprintf(stderr, "usage: reader SECONDS [PERIOD_MS]\n");
    return 2;
  }
  int files[FILES];
  for (size_t i = 0; i < FILES; i++) files[i] = open(paths[i], O_RDONLY | O_CLOEXEC);
  int64_t deadline = now_ns(), end = deadline + (int64_t)(seconds * 1e9);
  unsigned long ticks = 0;
  for (; deadline < end; deadline += period_ms * 1000000) {
    struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
    for (size_t i = 0; i < FILES; i++)
      if (files[i] >= 0) read_whole(files[i], memory, sizeof memory);
    ticks++;
  }
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("cpuSeconds=%.6f ticks=%lu rssBytes=%ld\n", cpu, ticks, usage.ru_maxrss * 1024);
  return 0;
}
