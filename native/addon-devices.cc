// The functions that tell of devices, and who watches them.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "addon.h"
#include "reader.h"
#include "vendor/crew.h"

static constexpr size_t MAX_KERNEL_LOG_BYTES = 4095;

// An option that may be absent or null: `*is_there` says whether it is given.
static bool get_option(napi_env env, napi_value options, const char *name, napi_value *value, bool *is_there) {
  napi_valuetype type;
  if (napi_get_named_property(env, options, name, value) != napi_ok || napi_typeof(env, *value, &type) != napi_ok)
    return fail_type(env, "options must be an object with procRoot, sysRoot and periodMs");
  *is_there = type != napi_undefined && type != napi_null;
  return true;
}

bool get_device_options(napi_env env, napi_value options, DeviceOptions *result) {
  napi_value vendors, kernel_log;
  bool has_vendors, has_kernel_log;
  if (!get_option(env, options, "vendors", &vendors, &has_vendors) ||
      !get_option(env, options, "kernelLog", &kernel_log, &has_kernel_log))
    return false;
  if (has_vendors) {
    result->vendors = copy_strings(env, vendors, "vendors", 0);
    if (result->vendors == nullptr) return false;
  }
  for (size_t i = 0; has_vendors && result->vendors[i] != nullptr; i++) {
    char text[96];
    if (crew_knows(result->vendors[i])) continue;
    snprintf(text, sizeof text, "vendors[%zu] must be the name of a vendor that is read natively", i);
    return fail_type(env, text);
  }
  if (!has_kernel_log) return true;
  result->kernel_log = copy_string(env, kernel_log, "kernelLog", 1, MAX_KERNEL_LOG_BYTES);
  return result->kernel_log != nullptr;
}

static napi_value text_of(napi_env env, char *text, size_t length, const char *name) {
  napi_value value = nullptr;
  if (text == nullptr) return fail(env, "ENOMEM", name);
  napi_create_string_utf8(env, text, length, &value);
  free(text);
  return value;
}

napi_value read_devices_(napi_env env, napi_callback_info) {
  size_t length = 0;
  char *text = reader_devices(&length);
  return text_of(env, text, length, "readDevices");
}

napi_value take_device_events_(napi_env env, napi_callback_info) {
  size_t length = 0;
  char *text = reader_device_events(&length);
  return text_of(env, text, length, "takeDeviceEvents");
}

// The watcher: one per process. INVARIANT: `watcher` is called and let go of under the lock, so it is never called
// after its end.

static pthread_mutex_t watcher_lock = PTHREAD_MUTEX_INITIALIZER;
static napi_threadsafe_function watcher;
static napi_env watcher_env;

bool wake_watcher() {
  pthread_mutex_lock(&watcher_lock);
  // A queue of one: a wake that is pending is enough.
  napi_status status = watcher != nullptr ? napi_call_threadsafe_function(watcher, nullptr, napi_tsfn_nonblocking)
                                          : napi_closing;
  pthread_mutex_unlock(&watcher_lock);
  return status == napi_ok || status == napi_queue_full;
}

// Runs before Node ends the function itself, as it was added after it.
static void end_watch(void *env) {
  pthread_mutex_lock(&watcher_lock);
  if (watcher != nullptr && watcher_env == env) {
    napi_release_threadsafe_function(watcher, napi_tsfn_abort);
    watcher = nullptr;
  }
  pthread_mutex_unlock(&watcher_lock);
}

napi_value watch_devices_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  napi_valuetype type;
  if (!arguments.get(env, info) || napi_typeof(env, arguments.at[0], &type) != napi_ok) return nullptr;
  if (type != napi_function && type != napi_null) {
    fail_type(env, "wake must be a function or null");
    return nullptr;
  }
  // Where another thread's environment watches, it is replaced; its own hook finds nothing to do then.
  napi_remove_env_cleanup_hook(env, end_watch, env);
  napi_threadsafe_function next = nullptr;
  napi_value name;
  if (type == napi_function) {
    if (napi_create_string_utf8(env, "flopd.watchDevices", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_threadsafe_function(env, arguments.at[0], nullptr, name, 1, 1, nullptr, nullptr, nullptr, nullptr,
                                        &next) != napi_ok)
      return fail(env, "UNKNOWN", "watchDevices: the event loop takes no calls from other threads");
    napi_unref_threadsafe_function(env, next);
    napi_add_env_cleanup_hook(env, end_watch, env);
  }
  pthread_mutex_lock(&watcher_lock);
  if (watcher != nullptr) napi_release_threadsafe_function(watcher, napi_tsfn_abort);
  watcher = next;
  watcher_env = env;
  pthread_mutex_unlock(&watcher_lock);
  return undefined(env);
}
