// Reading numbers and words out of text that may be cut, garbled or huge. A `struct text` is a view [at, end) that
// need not end in NUL; every function moves `at` forward, never past `end`, and says whether it found its thing.
#ifndef FLOPD_TEXT_H
#define FLOPD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
  const char *at;
  const char *end;
};

static inline size_t text_length(struct text t) { return (size_t)(t.end - t.at); }

static inline bool text_is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Takes the next line off the text, without its newline. False at the end.
static inline bool text_line(struct text *t, struct text *line) {
  if (t->at >= t->end) return false;
  const char *newline = memchr(t->at, '\n', text_length(*t));
  line->at = t->at;
  line->end = newline != NULL ? newline : t->end;
  t->at = newline != NULL ? newline + 1 : t->end;
  return true;
}

static inline void text_skip_blanks(struct text *t) {
  while (t->at < t->end && text_is_blank(*t->at)) t->at++;
}

// Takes the next run of characters that are not blanks.
static inline bool text_word(struct text *t, struct text *word) {
  text_skip_blanks(t);
  word->at = t->at;
  while (t->at < t->end && !text_is_blank(*t->at)) t->at++;
  word->end = t->at;
  return word->at < word->end;
}

static inline bool text_equals(struct text t, const char *literal) {
  size_t length = strlen(literal);
  return text_length(t) == length && memcmp(t.at, literal, length) == 0;
}

// Takes `literal` off the front, if it is there.
static inline bool text_take(struct text *t, const char *literal) {
  size_t length = strlen(literal);
  if (text_length(*t) < length || memcmp(t->at, literal, length) != 0) return false;
  t->at += length;
  return true;
}

// Takes an unsigned decimal number; one beyond 64 bits becomes the largest. Whatever follows stays.
static inline bool text_digits(struct text *t, uint64_t *value) {
  const char *start = t->at;
  uint64_t sum = 0;
  while (t->at < t->end) {
    unsigned digit = (unsigned)(unsigned char)*t->at - '0';
    if (digit > 9) break;
    if (sum > (UINT64_MAX - digit) / 10) sum = UINT64_MAX;
    else sum = sum * 10 + digit;
    // Once at the top it stays there: the test above holds for every further digit.
    t->at++;
  }
  *value = sum;
  return t->at > start;
}

// Takes blanks and an unsigned number that ends at a blank or at the end. Hot: every tick.
static inline bool text_u64(struct text *t, uint64_t *value) {
  text_skip_blanks(t);
  if (!text_digits(t, value)) return false;
  return t->at >= t->end || text_is_blank(*t->at);
}

// Takes blanks and a number like -12 or 0.25 that ends at a blank or at the end.
static inline bool text_decimal(struct text *t, double *value) {
  text_skip_blanks(t);
  bool negative = text_take(t, "-");
  uint64_t whole;
  if (!text_digits(t, &whole)) return false;
  double result = (double)whole;
  if (text_take(t, ".")) {
    // Digits and their power of ten are whole numbers, divided once: 0.69 becomes the double that 0.69 is.
    double power = 1;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
      if (power >= 1e15) continue;
      result = result * 10 + (*t->at - '0');
      power *= 10;
    }
    result /= power;
  }
  *value = negative ? -result : result;
  return t->at >= t->end || text_is_blank(*t->at);
}

// Copies into a label: printable ASCII stays, any other byte becomes '?', and what does not fit is cut.
static inline void text_label(char *label, size_t size, struct text from) {
  size_t length = text_length(from) < size - 1 ? text_length(from) : size - 1;
  for (size_t i = 0; i < length; i++) label[i] = from.at[i] >= 0x20 && from.at[i] <= 0x7e ? from.at[i] : '?';
  label[length] = '\0';
}

#endif
