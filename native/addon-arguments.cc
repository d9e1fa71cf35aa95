// What the functions of the addon share: arguments and errors.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addon.h"

// Throws a TypeError, unless a getter of the caller's threw already: that stays.
bool fail_type(napi_env env, const char *text) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", text);
  return false;
}

const char *errno_name(int error) {
#define NAME(code) \
  case code:       \
    return #code;
  switch (error) {
    NAME(EACCES) NAME(EAGAIN) NAME(EBADF) NAME(EBUSY) NAME(EDQUOT) NAME(EEXIST) NAME(EINVAL) NAME(EIO) NAME(EISDIR)
    NAME(ELOOP) NAME(EMFILE) NAME(ENAMETOOLONG) NAME(ENFILE) NAME(ENODEV) NAME(ENOENT) NAME(ENOLCK) NAME(ENOMEM)
    NAME(ENOSPC) NAME(ENOTDIR) NAME(ENOTEMPTY) NAME(ENXIO) NAME(EPERM) NAME(EROFS) NAME(ETXTBSY)
    NAME(EXDEV)
    default:
      return "UNKNOWN";
  }
#undef NAME
}

napi_value fail(napi_env env, const char *code, const char *text) {
  napi_throw_error(env, code, text);
  return nullptr;
}

napi_value fail_errno(napi_env env, const char *what, int error) {
  char text[256];
  snprintf(text, sizeof text, "%s: %s: %s", errno_name(error), what, strerror(error));
  return fail(env, errno_name(error), text);
}

bool is_type(napi_env env, napi_value value, napi_valuetype wanted) {
  napi_valuetype type;
  return napi_typeof(env, value, &type) == napi_ok && type == wanted;
}

// A copy of a string, to be freed, or nullptr with a TypeError pending: `name` must be a string of `min` to `max`
// bytes without NUL.
char *copy_string(napi_env env, napi_value value, const char *name, size_t min, size_t max, size_t *length) {
  char text[160];
  size_t size = 0;
  snprintf(text, sizeof text, "%s must be a string of %zu to %zu bytes without NUL", name, min, max);
  if (!is_type(env, value, napi_string) || napi_get_value_string_utf8(env, value, nullptr, 0, &size) != napi_ok ||
      size < min || size > max) {
    fail_type(env, text);
    return nullptr;
  }
  char *copy = static_cast<char *>(malloc(size + 1));
  if (copy == nullptr) {
    fail_errno(env, name, ENOMEM);
    return nullptr;
  }
  napi_get_value_string_utf8(env, value, copy, size + 1, &size);
  if (memchr(copy, 0, size) != nullptr) {
    free(copy);
    fail_type(env, text);
    return nullptr;
  }
  if (length != nullptr) *length = size;
  return copy;
}

void free_strings(char **strings) {
  for (size_t i = 0; strings != nullptr && strings[i] != nullptr; i++) free(strings[i]);
  free(strings);
}

// A copy of an array of strings that ends with NULL, or nullptr with an exception pending.
char **copy_strings(napi_env env, napi_value value, const char *name, uint32_t min) {
  char text[96];
  bool is_array = false;
  uint32_t count = 0;
  snprintf(text, sizeof text, "%s must be an array of %u to %zu strings", name, min, MAX_STRINGS);
  if (napi_is_array(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_array_length(env, value, &count) != napi_ok || count < min || count > MAX_STRINGS) {
    fail_type(env, text);
    return nullptr;
  }
  char **strings = static_cast<char **>(calloc(count + 1, sizeof *strings));
  if (strings == nullptr) {
    fail_errno(env, name, ENOMEM);
    return nullptr;
  }
  for (uint32_t i = 0; i < count; i++) {
    napi_handle_scope scope;
    napi_value item;
    if (napi_open_handle_scope(env, &scope) != napi_ok) {
      free_strings(strings);
      return nullptr;
    }
    snprintf(text, sizeof text, "%s[%u]", name, i);
    if (napi_get_element(env, value, i, &item) == napi_ok) strings[i] = copy_string(env, item, text, 0, MAX_STRING_BYTES);
    napi_close_handle_scope(env, scope);
    if (strings[i] != nullptr) continue;
    free_strings(strings);
    return nullptr;
  }
  return strings;
}

bool get_integer(napi_env env, napi_value value, const char *name, double min, double max, unsigned *result) {
  double number;
  if (is_type(env, value, napi_number) && napi_get_value_double(env, value, &number) == napi_ok && number >= min &&
      number <= max && floor(number) == number) {
    *result = static_cast<unsigned>(number);
    return true;
  }
  char text[96];
  snprintf(text, sizeof text, "%s must be an integer from %.0f to %.0f", name, min, max);
  return fail_type(env, text);
}

// The memory of a typed array, valid until JavaScript runs again.
bool get_memory(napi_env env, napi_value value, napi_typedarray_type wanted, const char *text, void **data, size_t *length) {
  bool is_typed = false;
  napi_typedarray_type type;
  if (napi_is_typedarray(env, value, &is_typed) != napi_ok || !is_typed ||
      napi_get_typedarray_info(env, value, &type, length, data, nullptr, nullptr) != napi_ok || type != wanted)
    return fail_type(env, text);
  if (*data == nullptr) *length = 0;  // detached
  return true;
}

napi_value undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

napi_value number_of(napi_env env, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  return value;
}
