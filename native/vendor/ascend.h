// Inside the vendor ascend: what its files share.
//
//   ascend.c         opens and closes the library, says what its codes mean and how a read went
//   ascend-list.c    chips and the parts that they are divided into: who is there
//   ascend-read.c    the numbers of the two faster paces
//   ascend-slow.c    ECC, processes, ratings, topology
//   ascend-events.c  fault events
//
// Calls go through the driver to the chip's firmware and take milliseconds, so a chip is read twice a second.
//
// Threads: as in vendor.h. A session never changes after `open`, except for what `enumerate` alone uses, and for the
// places, which have a lock that nobody holds during a call of the library.
#ifndef FLOPD_ASCEND_H
#define FLOPD_ASCEND_H

#include <pthread.h>

#include "../abi/dcmi.h"
#include "vendor.h"

// How the library addresses a chip.
struct ascend_address {
  int32_t card, chip;
  uint32_t logic_id;
  bool is_new;  // by the newer functions
};

// What is asked of a chip, one bit each: a call that can never work is asked for once.
enum ascend_ask {
  ASK_TYPE, ASK_CHIP, ASK_CHIP_OLD, ASK_PCIE, ASK_PCIE_OLD, ASK_LABEL, ASK_DIE, ASK_DIE_OLD, ASK_COMPONENTS,
  ASK_VERSION_OWN, ASK_VERSION_HILINK, ASK_VERSION_LOADER, ASK_VERSION_NVE,
  ASK_POWER, ASK_TEMPERATURE, ASK_BUSY_ALL, ASK_BUSY_AICORE, ASK_BUSY_AICPU, ASK_BUSY_CONTROL_CPU, ASK_BUSY_VECTOR,
  ASK_BUSY_NPU, ASK_BUSY_CUBE, ASK_BUSY_HBM, ASK_BUSY_DDR, ASK_AICORE, ASK_CLOCK_AICORE, ASK_CLOCK_RATED,
  ASK_CLOCK_HBM, ASK_CLOCK_DDR, ASK_HBM, ASK_HBM_OLD, ASK_MEMORY, ASK_MEMORY_OLD, ASK_HEALTH, ASK_CODES, ASK_ECC_HBM,
  ASK_ECC_DDR, ASK_PROCESSES, ASK_NETWORK, ASK_CAUSE, ASK_RATING, ASK_PARTS, ASK_PART, ASK_ACTIVITY, ASK_TOPOLOGY,
  ASK_COUNT
};
_Static_assert(ASK_COUNT <= 64, "bits");

// Which answers can never come, and which came once. Of one thread at a time.
struct ascend_asked {
  uint64_t dropped, worked;
};

enum ascend_memory { MEMORY_UNKNOWN, MEMORY_HBM, MEMORY_DDR };

// The vendor's memory of a device (chip or part): of its reads alone.
struct ascend_extra {
  struct ascend_address address;  // of a part, its chip's
  bool is_part;
  uint32_t part;
  struct ascend_asked asked;
  enum ascend_memory memory;
  double health;         // at the last read, NaN before
  unsigned broken_rounds;
  // Topology: what the places were when it was asked for, and how far it has come.
  unsigned places_age;
  size_t places_asked;
  int8_t kinds[MAX_LINKS];
};

// Where a chip is listed, for topology and events.
struct ascend_place {
  struct ascend_address address;
  char id[96];
};

// A chip as it was listed first: it keeps its id while the session lasts, whatever it answers later.
struct ascend_known {
  struct ascend_address address;
  struct ascend_asked asked;
  unsigned tries;  // to find out who it is; with the last one that stands
  struct device device;  // without `extra`
};

struct ascend_session {
  void *library;
  struct dcmi dcmi;
  bool is_new;
  // Of `enumerate`.
  struct ascend_known *known;
  size_t known_count;
  // Under the lock.
  pthread_mutex_t lock;
  struct ascend_place *places;
  size_t place_count;
  unsigned places_age;  // grows when they change
};

// One round of questions about one device.
struct ascend_round {
  struct ascend_session *session;
  struct ascend_address address;
  struct ascend_asked *asked;
  struct device *device;  // of a read
  struct ascend_extra *extra;
  struct sample *sample;
  // How it went: counts of answers by what they mean.
  unsigned fine, lost, denied, broken, failed, late;
  int code;  // the first that was not fine and not merely unsupported
  const char *where;
};

// Asks what may be asked still, and counts the answer. The value is the code.
//   ASCEND_ASK(&round, POWER, power, &deciwatts)
#define ASCEND_ASK(r, ask, function, ...)                                                              \
  ascend_note((r), ASK_##ask, #function,                                                               \
              ((r)->asked->dropped >> ASK_##ask & 1) != 0 ? DCMI_LACKING                               \
              : (r)->address.is_new                                                                    \
                  ? ((r)->session->dcmi.newer.function == NULL                                         \
                         ? DCMI_LACKING                                                                \
                         : (r)->session->dcmi.newer.function((int32_t)(r)->address.logic_id, __VA_ARGS__)) \
                  : ((r)->session->dcmi.classic.function == NULL                                       \
                         ? DCMI_LACKING                                                                \
                         : (r)->session->dcmi.classic.function((r)->address.card, (r)->address.chip, __VA_ARGS__)))

int ascend_note(struct ascend_round *r, enum ascend_ask ask, const char *where, int code);
// Why the answer to `ask` is absent.
enum reason ascend_reason(const struct ascend_round *r, enum ascend_ask ask, int code);
// How the round went as a whole; asks the driver itself when everything failed. Fills the sample's problem.
enum outcome ascend_outcome(struct ascend_round *r);
void ascend_problem(char *problem, size_t size, const char *where, int code);

// Sets a number from an answer in the library's unit; `scale` brings it to ours. Markers of absence are unsupported,
// what lies outside `least` to `most` (in the library's unit) is an error. True when it is there.
bool ascend_set(struct ascend_round *r, enum number number, enum ascend_ask ask, int code, int64_t value, double scale,
                int64_t least, int64_t most);
// Announces a number that only some devices have.
void ascend_found(struct ascend_round *r, enum number number);

// The library's text in printable ASCII without blanks at its ends; false when it says nothing.
bool ascend_text(char *to, size_t size, const char *from, size_t from_size);

// Numbers of the cards; the code of the call.
int ascend_cards(const struct ascend_session *session, int32_t *cards, int32_t *count);

enum outcome ascend_enumerate(void *session, struct device *devices, size_t capacity, size_t *count,
                              struct vendor_report *report);
enum outcome ascend_read(void *session, struct device *device, enum pace pace, struct sample *sample);
void ascend_read_slow(struct ascend_round *r);
void ascend_read_health(struct ascend_round *r, bool with_codes);
int ascend_wait(void *session, int timeout_ms, struct vendor_event *event);
void ascend_events_open(struct ascend_session *session);
// Whether the library calls back into us for good, and so must stay loaded.
bool ascend_events_close(struct ascend_session *session);

#endif
