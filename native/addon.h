// Inside the addon: checks of arguments, errors, and the functions that stand in files of their own.
//
// Plain Node-API 8 without the C++ library. A function that returns nullptr or false has an exception pending: a
// TypeError that names the wrong argument, or an Error with a code.
#ifndef FLOPD_ADDON_H
#define FLOPD_ADDON_H

#include <stddef.h>
#include <stdint.h>

#include <node_api.h>

constexpr size_t MAX_ARGUMENTS = 4;
constexpr size_t MAX_PATH_BYTES = 4095;
constexpr size_t MAX_NOTIFY_BYTES = 64 << 10;
constexpr size_t MAX_STRINGS = 1 << 16;       // of one argv or environment
constexpr size_t MAX_STRING_BYTES = 1 << 20;  // the kernel takes 128 KiB at most, and answers E2BIG itself

// The arguments of a call; those not given are undefined.
struct Arguments {
  napi_value at[MAX_ARGUMENTS];
  bool get(napi_env env, napi_callback_info info) {
    size_t count = MAX_ARGUMENTS;
    return napi_get_cb_info(env, info, &count, at, nullptr, nullptr) == napi_ok;
  }
};

// Throws a TypeError, unless a getter of the caller's threw already: that stays.
bool fail_type(napi_env env, const char *text);
napi_value fail(napi_env env, const char *code, const char *text);
napi_value fail_errno(napi_env env, const char *what, int error);
const char *errno_name(int error);

bool is_type(napi_env env, napi_value value, napi_valuetype wanted);
char *copy_string(napi_env env, napi_value value, const char *name, size_t min, size_t max, size_t *length = nullptr);
char **copy_strings(napi_env env, napi_value value, const char *name, uint32_t min);
void free_strings(char **strings);
bool get_integer(napi_env env, napi_value value, const char *name, double min, double max, unsigned *result);
bool get_memory(napi_env env, napi_value value, napi_typedarray_type wanted, const char *text, void **data,
                size_t *length);

napi_value undefined(napi_env env);
napi_value number_of(napi_env env, double number);

// addon-devices.cc

// The vendors and the kernel's log among the options of openReader, to be freed; false with an exception pending.
struct DeviceOptions {
  char **vendors;
  char *kernel_log;
};
bool get_device_options(napi_env env, napi_value options, DeviceOptions *result);

// For the reader: wakes whoever watches; false when nobody does.
bool wake_watcher();

napi_value read_devices_(napi_env env, napi_callback_info info);
napi_value take_device_events_(napi_env env, napi_callback_info info);
napi_value watch_devices_(napi_env env, napi_callback_info info);

#endif
