// The export table and the checks of arguments, nothing else. In the order of src/native.ts.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "flops.h"
#include "notify.h"
#include "peer.h"
#include "reader.h"
#include "remove.h"
#include "spawn.h"

extern "C" const char flopd_version[];

namespace {

// The reader.

char *get_root(napi_env env, napi_value options, const char *name) {
  napi_value value;
  if (napi_get_named_property(env, options, name, &value) != napi_ok) return nullptr;
  return copy_string(env, value, name, 1, MAX_PATH_BYTES);
}

napi_value open_reader_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  if (!arguments.get(env, info)) return nullptr;
  napi_value options = arguments.at[0], period;
  reader_options given = {};
  DeviceOptions devices = {};
  if (!is_type(env, options, napi_object)) {
    fail_type(env, "options must be an object with procRoot, sysRoot and periodMs");
    return nullptr;
  }
  char *proc_root = get_root(env, options, "procRoot");
  char *sys_root = proc_root != nullptr ? get_root(env, options, "sysRoot") : nullptr;
  bool is_right = sys_root != nullptr && napi_get_named_property(env, options, "periodMs", &period) == napi_ok &&
                  get_integer(env, period, "periodMs", 10, 10000, &given.period_ms) &&
                  get_device_options(env, options, &devices);
  given.proc_root = proc_root;
  given.sys_root = sys_root;
  given.vendors = devices.vendors;
  given.kernel_log = devices.kernel_log;
  given.wake = wake_watcher;
  given.owner = env;
  int error = is_right ? reader_open(&given) : 0;
  free(proc_root);
  free(sys_root);
  free_strings(devices.vendors);
  free(devices.kernel_log);
  if (!is_right) return nullptr;
  if (error == -EBUSY) return fail(env, "READER_OPEN", "a reader is open already in this process");
  return error != 0 ? fail_errno(env, "the reader could not be started", -error) : undefined(env);
}

napi_value fail_closed(napi_env env) { return fail(env, "READER_CLOSED", "no reader is open"); }

napi_value column_of(napi_env env, const column &column) {
  napi_value object, family, label, device;
  const char *name = family_name(column.family);
  if (napi_create_object(env, &object) != napi_ok ||
      napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &family) != napi_ok)
    return nullptr;
  napi_status labelled = column.label[0] == 0 ? napi_get_null(env, &label)
                                              : napi_create_string_utf8(env, column.label, NAPI_AUTO_LENGTH, &label);
  napi_status numbered =
      column.device < 0 ? napi_get_null(env, &device) : napi_create_int32(env, column.device, &device);
  if (labelled != napi_ok || numbered != napi_ok ||
      napi_set_named_property(env, object, "family", family) != napi_ok ||
      napi_set_named_property(env, object, "label", label) != napi_ok ||
      napi_set_named_property(env, object, "device", device) != napi_ok)
    return nullptr;
  return object;
}

napi_value reader_columns_(napi_env env, napi_callback_info) {
  generation_columns columns;
  if (reader_columns(&columns) != 0) return fail_closed(env);
  napi_value array = nullptr;
  bool is_right = napi_create_array_with_length(env, columns.count, &array) == napi_ok;
  for (size_t i = 0; is_right && i < columns.count; i++) {
    napi_handle_scope scope;
    is_right = napi_open_handle_scope(env, &scope) == napi_ok;
    if (!is_right) break;
    napi_value object = column_of(env, columns.columns[i]);
    is_right = object != nullptr && napi_set_element(env, array, static_cast<uint32_t>(i), object) == napi_ok;
    napi_close_handle_scope(env, scope);
  }
  reader_columns_done(&columns);
  return is_right ? array : nullptr;
}

napi_value take_window_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  void *header, *values, *reasons;
  size_t header_length, values_length, reasons_length;
  if (!arguments.get(env, info) ||
      !get_memory(env, arguments.at[0], napi_float64_array, "header must be a Float64Array", &header, &header_length) ||
      !get_memory(env, arguments.at[1], napi_float64_array, "values must be a Float64Array", &values, &values_length) ||
      !get_memory(env, arguments.at[2], napi_uint8_array, "reasons must be a Uint8Array", &reasons, &reasons_length))
    return nullptr;
  if (header_length < HEADER_LENGTH) {
    fail_type(env, "header must be a Float64Array of at least 8");
    return nullptr;
  }
  int count = reader_take(static_cast<double *>(header), static_cast<double *>(values), values_length,
                          static_cast<uint8_t *>(reasons), reasons_length);
  return count < 0 ? fail_closed(env) : number_of(env, count);
}

napi_value close_reader_(napi_env env, napi_callback_info) {
  reader_close();
  return undefined(env);
}

// The system.

napi_value notify_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  size_t length;
  if (!arguments.get(env, info)) return nullptr;
  char *state = copy_string(env, arguments.at[0], "state", 1, MAX_NOTIFY_BYTES, &length);
  if (state == nullptr) return nullptr;
  napi_value result = nullptr;
  napi_get_boolean(env, notify_send(state, length), &result);
  free(state);
  return result;
}

napi_value spawn_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  if (!arguments.get(env, info)) return nullptr;
  char *path = copy_string(env, arguments.at[0], "path", 1, MAX_PATH_BYTES);
  char **argv = path != nullptr ? copy_strings(env, arguments.at[1], "argv", 1) : nullptr;
  char **environment = argv != nullptr ? copy_strings(env, arguments.at[2], "environment", 0) : nullptr;
  napi_value result = environment != nullptr ? number_of(env, spawn_program(path, argv, environment)) : nullptr;
  free(path);
  free_strings(argv);
  free_strings(environment);
  return result;
}

napi_value reap_(napi_env env, napi_callback_info) { return number_of(env, spawn_reap()); }

napi_value lock_file_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  if (!arguments.get(env, info)) return nullptr;
  char *path = copy_string(env, arguments.at[0], "path", 1, MAX_PATH_BYTES);
  if (path == nullptr) return nullptr;
  int fd = lock_file(path);
  free(path);
  if (fd < 0 && fd != -EWOULDBLOCK) return fail_errno(env, "the lock file could not be opened", -fd);
  return number_of(env, fd < 0 ? -1 : fd);
}

napi_value peer_user_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  unsigned fd = 0;
  if (!arguments.get(env, info) || !get_integer(env, arguments.at[0], "fd", 0, INT32_MAX, &fd)) return nullptr;
  napi_value result = nullptr;
  long long user = peer_user((int)fd);
  napi_create_int64(env, user, &result);
  return result;
}

// Work on a thread of libuv's pool, told by a promise. The work's own struct begins with this one.

struct Task {
  napi_async_work work;
  napi_deferred deferred;
  int error;  // negative errno, or 0
};

// The promise, or nullptr with an exception pending; the caller frees the struct then.
napi_value begin(napi_env env, const char *name, napi_async_execute_callback work, napi_async_complete_callback done,
                 Task *task) {
  napi_value promise, text;
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text) == napi_ok &&
      napi_create_async_work(env, nullptr, text, work, done, task, &task->work) == napi_ok &&
      napi_create_promise(env, &task->deferred, &promise) == napi_ok &&
      napi_queue_async_work(env, task->work) == napi_ok)
    return promise;
  if (task->work != nullptr) napi_delete_async_work(env, task->work);
  return fail(env, "UNKNOWN", "work for another thread could not be started");
}

// Resolves to `result`; without one rejects with the errno's name as code.
void settle(napi_env env, napi_status status, Task *task, napi_value result, const char *what) {
  char message[160];
  const char *name = errno_name(-task->error);
  napi_value code, text, error;
  if (status == napi_ok && result != nullptr) {
    napi_resolve_deferred(env, task->deferred, result);
  } else if (status != napi_cancelled) {
    snprintf(message, sizeof message, "%s: %s", name, what);
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code);
    napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text);
    if (napi_create_error(env, code, text, &error) == napi_ok) napi_reject_deferred(env, task->deferred, error);
  }
  napi_delete_async_work(env, task->work);
}

struct Removal {
  Task task;
  char path[MAX_PATH_BYTES + 1];
};

void remove_now(napi_env, void *data) {
  static_cast<Task *>(data)->error = remove_tree(static_cast<Removal *>(data)->path);
}

void removed(napi_env env, napi_status status, void *data) {
  Removal *r = static_cast<Removal *>(data);
  settle(env, status, &r->task, r->task.error == 0 ? undefined(env) : nullptr, "the folder could not be removed");
  free(r);
}

napi_value remove_tree_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  if (!arguments.get(env, info)) return nullptr;
  char *path = copy_string(env, arguments.at[0], "path", 1, MAX_PATH_BYTES);
  if (path == nullptr) return nullptr;
  Removal *r = static_cast<Removal *>(calloc(1, sizeof *r));
  if (r != nullptr) strcpy(r->path, path);
  free(path);
  if (r == nullptr) return fail_errno(env, "removeTree", ENOMEM);
  napi_value promise = begin(env, "flopd.removeTree", remove_now, removed, &r->task);
  if (promise == nullptr) free(r);
  return promise;
}

struct Measurement {
  Task task;
  bool is_double;
  unsigned threads, duration_ms;
  double flops;
  const char *isa;
};

void measure(napi_env, void *data) {
  Measurement *m = static_cast<Measurement *>(data);
  m->task.error = flops_measure(m->is_double, m->threads, m->duration_ms, &m->flops, &m->isa);
}

napi_value measurement_result(napi_env env, const Measurement &m) {
  napi_value object, isa, flops = number_of(env, m.flops);
  if (napi_create_object(env, &object) != napi_ok || napi_create_string_utf8(env, m.isa, NAPI_AUTO_LENGTH, &isa) != napi_ok)
    return nullptr;
  napi_set_named_property(env, object, "flops", flops);
  napi_set_named_property(env, object, "isa", isa);
  return object;
}

void measured(napi_env env, napi_status status, void *data) {
  Measurement *m = static_cast<Measurement *>(data);
  napi_value object = status == napi_ok && m->task.error == 0 ? measurement_result(env, *m) : nullptr;
  settle(env, status, &m->task, object, "the floating-point measurement failed");
  free(m);
}

napi_value measure_flops_(napi_env env, napi_callback_info info) {
  Arguments arguments;
  char precision[8] = "";
  size_t length = 0;
  unsigned threads, duration_ms;
  if (!arguments.get(env, info)) return nullptr;
  bool is_string = is_type(env, arguments.at[0], napi_string) &&
                   napi_get_value_string_utf8(env, arguments.at[0], precision, sizeof precision, &length) == napi_ok;
  bool is_double = is_string && strcmp(precision, "fp64") == 0;
  if (!is_double && !(is_string && strcmp(precision, "fp32") == 0)) {
    fail_type(env, "precision must be 'fp64' or 'fp32'");
    return nullptr;
  }
  if (!get_integer(env, arguments.at[1], "threads", 1, 1024, &threads) ||
      !get_integer(env, arguments.at[2], "durationMs", 1, 60000, &duration_ms))
    return nullptr;
  Measurement *m = static_cast<Measurement *>(calloc(1, sizeof *m));
  if (m == nullptr) return fail_errno(env, "measureFlops", ENOMEM);
  m->is_double = is_double;
  m->threads = threads;
  m->duration_ms = duration_ms;
  napi_value promise = begin(env, "flopd.measureFlops", measure, measured, &m->task);
  if (promise == nullptr) free(m);
  return promise;
}

bool export_function(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) == napi_ok &&
         napi_set_named_property(env, exports, name, function) == napi_ok;
}

// The JavaScript thread that opened the reader ends.
void environment_ends(void *owner) { reader_close_owned(owner); }

}  // namespace

NAPI_MODULE_INIT() {
  napi_value version;
  bool is_right = napi_create_string_utf8(env, flopd_version, NAPI_AUTO_LENGTH, &version) == napi_ok &&
                  napi_set_named_property(env, exports, "version", version) == napi_ok &&
                  export_function(env, exports, "openReader", open_reader_) &&
                  export_function(env, exports, "readerColumns", reader_columns_) &&
                  export_function(env, exports, "takeWindow", take_window_) &&
                  export_function(env, exports, "closeReader", close_reader_) &&
                  export_function(env, exports, "readDevices", read_devices_) &&
                  export_function(env, exports, "takeDeviceEvents", take_device_events_) &&
                  export_function(env, exports, "watchDevices", watch_devices_) &&
                  export_function(env, exports, "notify", notify_) && export_function(env, exports, "spawn", spawn_) &&
                  export_function(env, exports, "reap", reap_) &&
                  export_function(env, exports, "lockFile", lock_file_) &&
                  export_function(env, exports, "peerUser", peer_user_) &&
                  export_function(env, exports, "removeTree", remove_tree_) &&
                  export_function(env, exports, "measureFlops", measure_flops_) &&
                  napi_add_env_cleanup_hook(env, environment_ends, env) == napi_ok;
  return is_right ? exports : nullptr;
}
