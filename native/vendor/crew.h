// The crew: the threads that call vendors' libraries, so that nobody else ever waits for one. The reader's thread
// copies what they found (part.h), JavaScript asks for it as text (report.c). How threads, sessions and hung calls
// go together stands at the head of crew.c.
#ifndef FLOPD_CREW_H
#define FLOPD_CREW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct crew;

enum { MAX_TEAMS = 8 };

struct crew_options {
  const char *const *vendors;  // names, ends with NULL; NULL: none
  const char *kernel_log;      // NULL: none
  const char *proc_root;       // names of processes are read below it
  int64_t period_ns;           // of the reader's ticks
  // Called on any thread when something came that `crew_events` tells; once until the next `crew_events`, if it says
  // that somebody was woken. May be NULL; must not wait.
  bool (*wake)(void);
};

bool crew_knows(const char *vendor);

// Starts the threads; waits for nothing. Held by the caller. NULL without memory.
struct crew *crew_start(const struct crew_options *options);

// Tells the threads to end. Does not wait.
void crew_stop(struct crew *crew);

// Waits for the threads to end, but not for one that hangs in a vendor's call: that keeps the crew's memory and frees
// it when the call comes back, if ever.
void crew_join(struct crew *crew);

// Ways to keep it while it is used.
void crew_hold(struct crew *crew);
void crew_release(struct crew *crew);

// Grows whenever what `crew_report` answers has changed; goes on from one crew to the next.
uint64_t crew_revision(void);

// See readDevices and takeDeviceEvents in src/native.ts: JSON, to be freed, or NULL without memory.
char *crew_report(struct crew *crew, size_t *length);
char *crew_events(struct crew *crew, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
