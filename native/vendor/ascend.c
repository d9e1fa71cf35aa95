// Ascend, read through DCMI. What each file does stands in ascend.h.
#include "ascend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../dl.h"

// Rounds in which nothing worked, for no clear reason, before the chip counts as lost: one failed ioctl is no proof.
enum { BROKEN_ROUNDS = 3 };

static const char *const libraries[] = {
    "libdcmi.so",
    "/usr/local/Ascend/driver/lib64/driver/libdcmi.so",
    "/usr/local/dcmi/libdcmi.so",
};
enum { LIBRARY_COUNT = sizeof libraries / sizeof libraries[0] };

static const struct dl_symbol symbols[] = {
#define X(field, required, parameters, ...) {{__VA_ARGS__}, offsetof(struct dcmi, field), required},
    DCMI_FUNCTIONS(X)
#undef X
#define X(field, parameters, classic_name, newer_name) {{classic_name}, offsetof(struct dcmi, classic.field), false},
        DCMI_CHIP_FUNCTIONS(X)
#undef X
#define X(field, parameters, classic_name, newer_name) {{newer_name}, offsetof(struct dcmi, newer.field), false},
            DCMI_CHIP_FUNCTIONS(X)
#undef X
};

// Codes.

static bool is_permanent(const struct ascend_round *r, enum ascend_ask ask, int code) {
  if (code == DCMI_LACKING || code == DCMI_UNSUPPORTED || code == DCMI_NOT_IN_CONTAINER) return true;
  // For a selector that the chip or an older driver does not know.
  return code == DCMI_INVALID_PARAMETER && (r->asked->worked >> ask & 1) == 0;
}

enum reason ascend_reason(const struct ascend_round *r, enum ascend_ask ask, int code) {
  if (is_permanent(r, ask, code)) return UNSUPPORTED;
  switch (code) {
    case DCMI_OK:
      return PRESENT;
    case DCMI_NOT_PERMITTED:
      return DENIED;
    case DCMI_INVALID_DEVICE:
    case DCMI_DEVICE_ABSENT:
    case DCMI_NOT_READY:
    case DCMI_RESET:
      return LOST;
    case DCMI_TIMEOUT:
    case DCMI_UPGRADING:
    case DCMI_OCCUPIED:
      return LATE;
    case DCMI_INTERNAL:
      // Also what chips say that lack it: those never gave it.
      return (r->asked->worked >> ask & 1) != 0 ? ERROR : UNSUPPORTED;
    default:
      return ERROR;
  }
}

int ascend_note(struct ascend_round *r, enum ascend_ask ask, const char *where, int code) {
  uint64_t bit = (uint64_t)1 << ask;
  if (is_permanent(r, ask, code)) {
    r->asked->dropped |= bit;
    return code;
  }
  switch (code) {
    case DCMI_OK:
      r->asked->worked |= bit;
      r->fine++;
      return code;
    case DCMI_NOT_PERMITTED:
      r->denied++;
      break;
    case DCMI_INVALID_DEVICE:
    case DCMI_DEVICE_ABSENT:
    case DCMI_NOT_READY:
    case DCMI_RESET:
      r->lost++;
      break;
    case DCMI_TIMEOUT:
    case DCMI_UPGRADING:
    case DCMI_OCCUPIED:
      r->late++;
      break;
    case DCMI_IOCTL_FAILED:
    case DCMI_SEND_FAILED:
    case DCMI_RECEIVE_FAILED:
    case DCMI_ABORTED:
      r->broken++;
      break;
    default:
      r->failed++;
  }
  if (r->code == DCMI_OK) {
    r->code = code;
    r->where = where;
  }
  return code;
}

static const char *meaning(int code) {
  switch (code) {
    case DCMI_NOT_PERMITTED:
      return "no permission: this user is not in the driver's group (HwHiAiUser)";
    case DCMI_INTERNAL:
      return "the driver answers with an internal error";
    case DCMI_TIMEOUT:
      return "the chip did not answer in time";
    case DCMI_INVALID_DEVICE:
    case DCMI_DEVICE_ABSENT:
      return "the chip is gone";
    case DCMI_IOCTL_FAILED:
    case DCMI_SEND_FAILED:
    case DCMI_RECEIVE_FAILED:
      return "the driver does not reach the chip";
    case DCMI_NOT_READY:
      return "the chip is not ready: it starts, or is being reset";
    case DCMI_NOT_IN_CONTAINER:
      return "not to be had in a container";
    case DCMI_RESET:
      return "the chip was reset";
    case DCMI_UPGRADING:
      return "the chip's firmware is being upgraded";
    default:
      return NULL;
  }
}

void ascend_problem(char *problem, size_t size, const char *where, int code) {
  const char *text = meaning(code);
  if (text != NULL) snprintf(problem, size, "%s (%s: error %d)", text, where, code);
  else snprintf(problem, size, "%s: error %d", where, code);
}

enum outcome ascend_outcome(struct ascend_round *r) {
  struct ascend_extra *extra = r->extra;
  if (r->fine > 0 || r->code == DCMI_OK) {
    extra->broken_rounds = 0;
    return OUTCOME_OK;
  }
  ascend_problem(r->sample->problem, sizeof r->sample->problem, r->where, r->code);
  unsigned others = r->lost + r->broken + r->failed;
  if (others == 0) return r->late > 0 ? OUTCOME_OK : OUTCOME_DENIED;
  int32_t cards[DCMI_CARDS + DCMI_ROOM / 4] = {0}, count = 0;
  int code = ascend_cards(r->session, cards, &count);
  if (code != DCMI_OK) {
    ascend_problem(r->sample->problem, sizeof r->sample->problem, "list of cards", code);
    return OUTCOME_VENDOR_LOST;
  }
  if (r->lost > 0) return OUTCOME_DEVICE_LOST;
  bool is_lost = r->broken > 0 && ++extra->broken_rounds >= BROKEN_ROUNDS;
  return is_lost ? OUTCOME_DEVICE_LOST : OUTCOME_FAILED;
}

// Values.

// What the driver's layers write where they have nothing: outside of what any number may be, or it would be told.
static bool is_marker(int64_t value) {
  return value == 0xFFFFFFFF || value == INT64_MAX || value == 0x7FFFFFFF || value == 0xFFFF ||
         (value >= 0x7FFC && value <= 0x7FFF);
}

bool ascend_set(struct ascend_round *r, enum number number, enum ascend_ask ask, int code, int64_t value, double scale,
                int64_t least, int64_t most) {
  if (code != DCMI_OK) sample_absent(r->sample, number, ascend_reason(r, ask, code));
  else if (value >= least && value <= most)
    // By division where the scale is a fraction: 57 % is 0.57, not 57 × 0.01.
    sample_set(r->sample, number, scale < 1 ? (double)value / (1 / scale) : (double)value * scale);
  else sample_absent(r->sample, number, value == -1 || is_marker(value) ? UNSUPPORTED : ERROR);
  return r->sample->reasons[number] == PRESENT;
}

void ascend_found(struct ascend_round *r, enum number number) { r->device->has |= (uint64_t)1 << number; }

bool ascend_text(char *to, size_t size, const char *from, size_t from_size) {
  size_t length = strnlen(from, from_size), begin = 0, out = 0;
  while (begin < length && (from[begin] == ' ' || from[begin] == '\t')) begin++;
  for (size_t i = begin; i < length && out + 1 < size; i++)
    to[out++] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
  while (out > 0 && to[out - 1] == ' ') out--;
  to[out] = '\0';
  bool is_nothing = out == 0 || strspn(to, "?") == out || strcmp(to, "NA") == 0 || strcmp(to, "N/A") == 0;
  if (is_nothing) to[0] = '\0';
  return !is_nothing;
}

// Sessions.

int ascend_cards(const struct ascend_session *session, int32_t *cards, int32_t *count) {
  const struct dcmi *dcmi = &session->dcmi;
  *count = 0;
  int code = session->is_new ? dcmi->new_list(count, cards, DCMI_CARDS) : dcmi->cards(count, cards, DCMI_CARDS);
  if (*count < 0) *count = 0;
  if (*count > DCMI_CARDS) *count = DCMI_CARDS;
  return code;
}

// The classic functions, else (generation of the 950) the newer ones.
static bool start(struct ascend_session *s, struct vendor_report *report) {
  size_t size = sizeof report->problem;
  struct dcmi *dcmi = &s->dcmi;
  const char *lacking = dl_fill(s->library, symbols, sizeof symbols / sizeof symbols[0], dcmi);
  bool has_new = dcmi->new_init != NULL && dcmi->new_list != NULL;
  if (lacking != NULL && !has_new) {
    snprintf(report->problem, size, "the library lacks %s", lacking);
    return false;
  }
  int32_t cards[DCMI_CARDS + DCMI_ROOM / 4] = {0}, count = 0;
  const char *where = "dcmi_init";
  int code = lacking == NULL ? dcmi->init() : DCMI_LACKING;
  if (code == DCMI_OK) {
    where = "list of cards";
    code = ascend_cards(s, cards, &count);
    if (code == DCMI_OK && count > 0) return true;
  }
  if (has_new && dcmi->new_init() == DCMI_OK) {
    s->is_new = true;
    if (ascend_cards(s, cards, &count) == DCMI_OK && count > 0) return true;
  }
  if (lacking != NULL) snprintf(report->problem, size, "the library lacks %s", lacking);
  else if (code != DCMI_OK) ascend_problem(report->problem, size, where, code);
  else snprintf(report->problem, size, "no cards: the driver sees none, or none may be seen from here");
  return false;
}

// Some drivers leave symbols to be found in libraries that are global, or only when they are called.
static void *open_lazily(struct vendor_report *report) {
  void *library = NULL;
  for (size_t i = 0; i < LIBRARY_COUNT && library == NULL; i++) {
    library = dlopen(libraries[i], RTLD_LAZY | RTLD_GLOBAL);
    if (library != NULL) snprintf(report->library, sizeof report->library, "%s", libraries[i]);
  }
  return library;
}

static void session_free(struct ascend_session *s) {
  if (s->library != NULL) dl_close(s->library);
  pthread_mutex_destroy(&s->lock);
  free(s->known);
  free(s->places);
  free(s);
}

static void *open_session(struct vendor_report *report, bool *missing) {
  *missing = false;
  struct ascend_session *s = calloc(1, sizeof *s);
  if (s == NULL) {
    snprintf(report->problem, sizeof report->problem, "out of memory");
    return NULL;
  }
  pthread_mutex_init(&s->lock, NULL);
  enum dl_result result = dl_open(libraries, LIBRARY_COUNT, &s->library, report->library, sizeof report->library,
                                  report->problem, sizeof report->problem);
  *missing = result == DL_MISSING;
  if (result == DL_BROKEN) s->library = open_lazily(report);
  if (s->library == NULL || !start(s, report)) {
    session_free(s);
    return NULL;
  }
  report->problem[0] = '\0';
  char version[DCMI_ROOM] = "";
  if (s->dcmi.driver_version != NULL && s->dcmi.driver_version(version, DCMI_TEXT) == DCMI_OK)
    ascend_text(report->driver_version, sizeof report->driver_version, version, sizeof version);
  ascend_events_open(s);
  return s;
}

// DCMI has no counterpart to its init. A library that calls back into us for good stays loaded: its threads run in it.
// A driver that was replaced brings another file, which the loader takes for another library.
static void close_session(void *session, bool unload) {
  (void)unload;  // the loader counts: another session keeps it
  struct ascend_session *s = session;
  if (ascend_events_close(s)) s->library = NULL;
  session_free(s);
}

static void release(struct device *device) {
  free(device->extra);
  device->extra = NULL;
}

const struct vendor ascend_vendor = {
    .name = "ascend",
    .fast_ns = 500000000,
    .open = open_session,
    .enumerate = ascend_enumerate,
    .read = ascend_read,
    .wait = ascend_wait,
    .release = release,
    .close = close_session,
};
