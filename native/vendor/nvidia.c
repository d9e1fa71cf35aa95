// NVIDIA, read through its management library. What each file does stands in nvidia.h.
#include "nvidia.h"

#include <stdio.h>
#include <stdlib.h>

#include "../dl.h"

static const char *const libraries[] = {
    "libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
};

static const struct dl_symbol symbols[] = {
#define X(field, required, parameters, ...) {{__VA_ARGS__}, offsetof(struct nvml, field), required},
    NVML_FUNCTIONS(X)
#undef X
};

enum reason nvidia_reason(int code) {
  switch (code) {
    case NVML_OK:
      return PRESENT;
    case NVML_NOT_SUPPORTED:
    case NVML_LIBRARY_NOT_FOUND:
    case NVML_FUNCTION_NOT_FOUND:
    case NVML_VERSION_MISMATCH:
    case NVML_DEPRECATED:
      return UNSUPPORTED;
    case NVML_NO_PERMISSION:
      return DENIED;
    default:
      return nvidia_outcome(code) == OUTCOME_FAILED ? ERROR : LOST;
  }
}

enum outcome nvidia_outcome(int code) {
  switch (code) {
    case NVML_OK:
      return OUTCOME_OK;
    case NVML_GPU_IS_LOST:
    case NVML_RESET_REQUIRED:
    case NVML_GPU_NOT_FOUND:
      return OUTCOME_DEVICE_LOST;
    case NVML_NO_PERMISSION:
      return OUTCOME_DENIED;
    case NVML_UNINITIALIZED:
    case NVML_DRIVER_NOT_LOADED:
    case NVML_LIB_RM_VERSION_MISMATCH:
      return OUTCOME_VENDOR_LOST;
    default:
      return OUTCOME_FAILED;
  }
}

static const char *meaning(int code) {
  switch (code) {
    case NVML_UNINITIALIZED:
      return "the library has lost its connection to the driver";
    case NVML_NO_PERMISSION:
      return "no permission: this user may not open the device nodes /dev/nvidia*";
    case NVML_INSUFFICIENT_SIZE:
      return "the library wants more room than it was given";
    case 8:
      return "the device lacks power: a cable is not connected";
    case NVML_DRIVER_NOT_LOADED:
      return "the kernel driver is not loaded";
    case NVML_TIMEOUT:
      return "the device did not answer in time";
    case 11:
      return "the device's interrupts do not work";
    case 14:
      return "the device's information memory is corrupted";
    case NVML_GPU_IS_LOST:
      return "the device has fallen off the bus";
    case NVML_RESET_REQUIRED:
      return "the device needs a reset";
    case NVML_OPERATING_SYSTEM:
      return "the operating system refused: often a control group or a missing device node";
    case NVML_LIB_RM_VERSION_MISMATCH:
      return "driver/library version mismatch: the driver was updated and its kernel module not reloaded";
    case NVML_GPU_NOT_FOUND:
      return "the device is gone";
    default:
      return NULL;
  }
}

void nvidia_problem(char *problem, size_t size, const char *where, int code) {
  const char *text = meaning(code);
  if (text != NULL) snprintf(problem, size, "%s (%s: error %d)", text, where, code);
  else snprintf(problem, size, "%s: error %d", where, code);
}

static void session_free(struct nvidia_session *s) {
  // The loader counts references: another session keeps the library, and a driver that was replaced brings a new one.
  dl_close(s->library);
  pthread_mutex_destroy(&s->lock);
  free(s->known);
  free(s->places);
  free(s->events.devices);
  free(s);
}

static bool start(struct nvidia_session *s, struct vendor_report *report) {
  size_t size = sizeof report->problem;
  const char *lacking = dl_fill(s->library, symbols, sizeof symbols / sizeof symbols[0], &s->nvml);
  if (lacking != NULL) {
    snprintf(report->problem, size, "the library lacks %s", lacking);
    return false;
  }
  int code = s->nvml.init();
  if (code != NVML_OK) {
    nvidia_problem(report->problem, size, "nvmlInit", code);
    return false;
  }
  char version[256] = "";
  code = NVML(&s->nvml, driver_version, version, NVML_TEXT);
  nvidia_text(report->driver_version, sizeof report->driver_version, code, version, sizeof version);
  unsigned count = 0;
  code = s->nvml.count(&count);
  if (code == NVML_OK && count > 0) return true;
  if (code != NVML_OK) nvidia_problem(report->problem, size, "nvmlDeviceGetCount", code);
  else snprintf(report->problem, size, "no devices: the driver sees none, or none may be seen from here");
  NVML(&s->nvml, shutdown);
  return false;
}

static void *open_session(struct vendor_report *report, bool *missing) {
  *missing = false;
  struct nvidia_session *s = calloc(1, sizeof *s);
  if (s == NULL) {
    snprintf(report->problem, sizeof report->problem, "out of memory");
    return NULL;
  }
  pthread_mutex_init(&s->lock, NULL);
  enum dl_result result = dl_open(libraries, sizeof libraries / sizeof libraries[0], &s->library, report->library,
                                  sizeof report->library, report->problem, sizeof report->problem);
  *missing = result == DL_MISSING;
  if (result == DL_OPENED && start(s, report)) return s;
  session_free(s);
  return NULL;
}

static void close_session(void *session, bool unload) {
  (void)unload;  // see session_free
  struct nvidia_session *s = session;
  nvidia_events_close(s);
  NVML(&s->nvml, shutdown);
  session_free(s);
}

const struct vendor nvidia_vendor = {
    .name = "nvidia",
    .fast_ns = 100000000,
    .open = open_session,
    .enumerate = nvidia_enumerate,
    .read = nvidia_read,
    .wait = nvidia_wait,
    .release = nvidia_release,
    .close = close_session,
};
