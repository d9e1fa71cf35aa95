// Writing JSON into memory that grows. Numbers that are not finite become null; bytes that are not UTF-8 become U+FFFD.
#ifndef FLOPD_JSON_H
#define FLOPD_JSON_H

#include <stdbool.h>
#include <stddef.h>

struct json {
  char *text;
  size_t length, capacity;
  bool failed;      // no memory: the text is not to be used
  bool needs_comma;
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);

// `key` NULL: an item of an array.
void json_number(struct json *json, const char *key, double number);
void json_null(struct json *json, const char *key);
void json_bool(struct json *json, const char *key, bool is_true);

// At most `size` bytes, up to a NUL; `json_text` null where it is empty.
void json_string(struct json *json, const char *key, const char *text, size_t size);
void json_text(struct json *json, const char *key, const char *text, size_t size);

// The text, ending with NUL, to be freed; NULL without memory.
char *json_finish(struct json *json, size_t *length);

#endif
