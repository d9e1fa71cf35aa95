// How long NVML's calls take on this machine: per call the median and the highest of 50, in microseconds, as JSON.
// Read-only calls, with the symbols that flopd uses; one that is missing or refused is named with its code.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 50 };

typedef int (*no_arguments)(void);
typedef int (*handle_call)(unsigned, void **);
typedef int (*one_out)(void *, void *);
typedef int (*selected_out)(void *, unsigned, void *);
typedef int (*two_out)(void *, unsigned *, unsigned *);

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void *library, *device;
static int is_first = 1;

enum shape { ONE_OUT, SELECTED, TWO_OUT };

static void measure(const char *name, enum shape shape, unsigned selector) {
  static unsigned char out[1 << 16];
  void *symbol = dlsym(library, name);
  printf("%s\n  {\"call\": \"%s\", \"selector\": %u, ", is_first ? "" : ",", name, selector);
  is_first = 0;
  if (symbol == NULL) {
    printf("\"absent\": \"no such symbol\"}");
    return;
  }
  double took[ROUNDS];
  for (int i = 0; i < ROUNDS; i++) {
    int code;
    unsigned second = 0;
    memset(out, 0, 64);
    double start = now_us();
    if (shape == ONE_OUT) code = ((one_out)symbol)(device, out);
    else if (shape == SELECTED) code = ((selected_out)symbol)(device, selector, out);
    else code = ((two_out)symbol)(device, (unsigned *)out, &second);
    took[i] = now_us() - start;
    if (code != 0) {
      printf("\"absent\": \"code %d\"}", code);
      return;
    }
  }
  qsort(took, ROUNDS, sizeof took[0], by_size);
  printf("\"medianUs\": %.1f, \"highestUs\": %.1f}", took[ROUNDS / 2], took[ROUNDS - 1]);
}

int main(void) {
  library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "calls: %s\n", dlerror());
    return 2;
  }
  no_arguments init = (no_arguments)dlsym(library, "nvmlInit_v2");
  handle_call handle = (handle_call)dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
  if (init == NULL || handle == NULL || init() != 0 || handle(0, &device) != 0) {
    fprintf(stderr, "calls: NVML has no first device\n");
    return 2;
  }
  printf("[");
  measure("nvmlDeviceGetUtilizationRates", ONE_OUT, 0);
  measure("nvmlDeviceGetPowerUsage", ONE_OUT, 0);
  measure("nvmlDeviceGetTotalEnergyConsumption", ONE_OUT, 0);
  measure("nvmlDeviceGetMemoryInfo", ONE_OUT, 0);
  measure("nvmlDeviceGetEnforcedPowerLimit", ONE_OUT, 0);
  measure("nvmlDeviceGetTemperature", SELECTED, 0);
  measure("nvmlDeviceGetClockInfo", SELECTED, 1);
  measure("nvmlDeviceGetClockInfo", SELECTED, 2);
  measure("nvmlDeviceGetCurrentClocksThrottleReasons", ONE_OUT, 0);
  measure("nvmlDeviceGetPcieThroughput", SELECTED, 0);
  measure("nvmlDeviceGetPcieReplayCounter", ONE_OUT, 0);
  measure("nvmlDeviceGetEncoderUtilization", TWO_OUT, 0);
  measure("nvmlDeviceGetDecoderUtilization", TWO_OUT, 0);
  printf("\n]\n");
  return 0;
}
