// Events of devices, counted until JavaScript takes them: at most 256 kinds of (device, kind, code), so that ten
// thousand a second cost a look at a short list each, and one wake altogether.
#ifndef FLOPD_EVENT_STORE_H
#define FLOPD_EVENT_STORE_H

#include <pthread.h>

#include "vendor.h"

enum { MAX_KINDS = 256, MAX_RECENT = 64 };

// Two tell of the same Xid: the library and the kernel's log.
enum event_source { SOURCE_LIBRARY, SOURCE_KERNEL, SOURCE_COUNT };

// What happened: `number` of the device, or -1 and where it sits.
struct happening {
  int32_t number;
  int kind;
  uint32_t code;
  uint64_t count;
  char bus_id[64];
  char detail[TEXT_SIZE];
};

// An Xid of the last seconds: how often each source told of it. What counts is the larger of the two.
struct recent {
  uint64_t place;  // PCI address, or a hash of the id
  uint32_t code;
  int64_t last_ns;
  uint64_t counts[SOURCE_COUNT];
};

struct event_store {
  pthread_mutex_t lock;
  bool (*wake)(void);
  bool is_woken;
  size_t count;
  struct happening happenings[MAX_KINDS];
  size_t recent_count;
  struct recent recents[MAX_RECENT];
};

void event_store_init(struct event_store *store, bool (*wake)(void));

// Counts it and wakes JavaScript. Hot: whatever a flood brings.
void event_store_add(struct event_store *store, const struct happening *happening);

// How many of `count` Xids are news, the same having been told by the other source up to 5 s ago.
uint64_t event_store_news(struct event_store *store, enum event_source source, uint64_t place, uint32_t code,
                          uint64_t count, int64_t now_ns);

// Copies what is there into `happenings` (MAX_KINDS) and empties the store; returns how many.
size_t event_store_take(struct event_store *store, struct happening *happenings);

// The place of a PCI address like `0000:65:00` or `00000000:65:00.0`, the function left out; false when it is none.
bool place_of_address(const char *address, uint64_t *place);
uint64_t place_of_id(const char *id);

#endif
