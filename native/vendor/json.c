#include "json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct json *json, const char *bytes, size_t size) {
  if (json->failed) return;
  if (json->length + size > json->capacity) {
    size_t capacity = 2 * (json->length + size) + 1024;
    char *more = realloc(json->text, capacity);
    if (more == NULL) {
      json->failed = true;
      return;
    }
    json->text = more;
    json->capacity = capacity;
  }
  memcpy(json->text + json->length, bytes, size);
  json->length += size;
}

static void put_text(struct json *json, const char *text) { put(json, text, strlen(text)); }

static void put_key(struct json *json, const char *key) {
  if (json->needs_comma) put(json, ",", 1);
  json->needs_comma = true;
  if (key == NULL) return;
  put(json, "\"", 1);
  put_text(json, key);
  put(json, "\":", 2);
}

void json_open(struct json *json, const char *key, char bracket) {
  put_key(json, key);
  put(json, &bracket, 1);
  json->needs_comma = false;
}

void json_close(struct json *json, char bracket) {
  put(json, &bracket, 1);
  json->needs_comma = true;
}

void json_null(struct json *json, const char *key) {
  put_key(json, key);
  put(json, "null", 4);
}

void json_bool(struct json *json, const char *key, bool is_true) {
  put_key(json, key);
  put_text(json, is_true ? "true" : "false");
}

void json_number(struct json *json, const char *key, double number) {
  char text[32];
  if (!isfinite(number)) {
    json_null(json, key);
    return;
  }
  put_key(json, key);
  // Node sets LC_NUMERIC to no other than "C", and no library that we know of does; a comma would be no JSON.
  snprintf(text, sizeof text, "%.17g", number);
  for (char *c = text; *c != '\0'; c++)
    if (*c == ',') *c = '.';
  put_text(json, text);
}

// Length of the valid UTF-8 character at `at`, or 0.
static size_t character(const unsigned char *at, size_t size) {
  // Of the first byte: how many follow, and the bounds of the second, which exclude overlong forms, surrogates and
  // what lies beyond U+10FFFF.
  unsigned char first = at[0], low = 0x80, high = 0xbf;
  size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length == 0 || length > size) return 0;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  if (length > 1 && (at[1] < low || at[1] > high)) return 0;
  for (size_t i = 2; i < length; i++)
    if (at[i] < 0x80 || at[i] > 0xbf) return 0;
  return length;
}

void json_string(struct json *json, const char *key, const char *text, size_t size) {
  size_t length = strnlen(text, size);
  put_key(json, key);
  put(json, "\"", 1);
  for (size_t i = 0; i < length;) {
    const unsigned char *at = (const unsigned char *)text + i;
    size_t valid = character(at, length - i);
    char escape[8];
    if (valid == 0) put_text(json, "\xef\xbf\xbd");
    else if (*at < 0x20 || *at == '"' || *at == '\\' || *at == 0x7f) {
      snprintf(escape, sizeof escape, "\\u%04x", *at);
      put_text(json, escape);
    } else put(json, (const char *)at, valid);
    i += valid > 0 ? valid : 1;
  }
  put(json, "\"", 1);
}

void json_text(struct json *json, const char *key, const char *text, size_t size) {
  if (size == 0 || text[0] == '\0') json_null(json, key);
  else json_string(json, key, text, size);
}

char *json_finish(struct json *json, size_t *length) {
  put(json, "", 1);
  if (json->failed) {
    free(json->text);
    return NULL;
  }
  *length = json->length - 1;
  return json->text;
}
