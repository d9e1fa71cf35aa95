// The export table and the checks of arguments, nothing else.
#include <node_api.h>

extern "C" const char flopd_version[];

NAPI_MODULE_INIT() {
  napi_value version;
  if (napi_create_string_utf8(env, flopd_version, NAPI_AUTO_LENGTH, &version) != napi_ok) return nullptr;
  napi_set_named_property(env, exports, "version", version);
  return exports;
}
