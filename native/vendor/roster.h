// What the crew knows: teams (one per vendor), their sessions and their devices.
//
// INVARIANT: `team.lock` guards everything of a team but the seat of a device while a call on it is in flight
// (`is_called`): that is the caller's alone. Nobody waits for a vendor, a file or another lock while holding it,
// except for the events' and the numbers' locks, which are leaves.
#ifndef FLOPD_ROSTER_H
#define FLOPD_ROSTER_H

#include <pthread.h>
#include <stdatomic.h>

#include "crew.h"
#include "event-store.h"
#include "kernel-log.h"
#include "vendor.h"

static const int64_t SECOND_NS = 1000000000;
static const int64_t CALL_LIMIT_NS = 700000000;  // a call that takes longer counts as hung

enum { COMM_SIZE = 16, MAX_HUNG = 64, NO_NUMBER = -1 };

// An opened library. Closed by whoever lets go of it last.
struct session {
  void *opened;         // the vendor's
  unsigned references;  // of the team while it uses it, and of threads in a call
};

// A device as one session knows it, and what reads fill.
struct seat {
  struct session *session;
  struct device device;
  struct sample sample;
};

// A device, known by its id for as long as the reader is open.
struct entry {
  int32_t number;
  struct seat *seat;     // NULL: no session knows it at present
  bool is_called;        // a call on it is in flight
  bool is_hung;          // and has been for too long
  bool is_seen;          // the enumeration in progress named it
  bool is_gone;          // the last one did not
  enum reason standing;  // PRESENT, or why all is absent; lateness comes on top, see entry_absence
  enum reason told;      // what entry_absence said at the last tick
  enum outcome outcomes[PACE_COUNT];
  int64_t due_ns[PACE_COUNT];
  int64_t ended_ns[PACE_COUNT];  // end of the last read
  int64_t fresh_ns;              // end of the last FAST read that worked, 0 before
  // What is shown.
  struct device facts;
  struct sample shown;
  char names[MAX_PROCESSES][COMM_SIZE];
};

enum team_state { TEAM_OPENING, TEAM_MISSING, TEAM_OPEN, TEAM_FAILED };
enum call { CALL_NONE, CALL_OPEN, CALL_ENUMERATE, CALL_READ };

struct worker;

struct team {
  struct crew *crew;
  const struct vendor *vendor;
  pthread_mutex_t lock;
  pthread_cond_t wake;  // of the worker and of the event thread
  int64_t fast_ns;           // time between two FAST reads
  int64_t round_ns;          // how long the last round took
  int64_t round_started_ns;

  // The call of the present worker; those of workers that were replaced stand in their entries.
  struct worker *worker;
  enum call call;
  int64_t call_ns;  // since when
  struct entry *call_entry;
  unsigned hung;               // workers that were replaced and have not come back
  bool is_enumerate_called;    // by anybody
  bool is_settled;             // it is known whether there are devices

  struct session *session;
  unsigned sessions;  // not closed yet
  unsigned listeners; // event threads
  int64_t open_due_ns, enumerate_due_ns, backoff_ns;
  enum team_state state;
  struct vendor_report report;
  size_t count;
  struct entry *entries[MAX_DEVICES];
};

struct crew {
  atomic_uint references;  // of its owner, of threads, of readers of it
  int64_t period_ns;       // of the reader's ticks
  int64_t started_ns;
  atomic_bool stopping;
  pthread_mutex_t lock;    // of the count of threads and of the log's pointer
  pthread_cond_t ended;
  unsigned threads, stuck;
  struct kernel_log *kernel_log;  // NULL: none, or its thread is at its end
  int proc;                       // descriptor of the root of /proc, -1
  struct event_store events;
  size_t team_count;
  struct team *teams[MAX_TEAMS];
};

// What `crew_report` answers has changed.
void roster_changed(void);

// The number of an id, the same for as long as the process runs; NO_NUMBER when there are too many.
int32_t roster_number(const char *vendor, const char *id);

// Why nothing can be said about the device at `now_ns`, or PRESENT. All below: with the team's lock held.
enum reason entry_absence(const struct team *team, const struct entry *entry, int64_t now_ns);

// Takes the device that was enumerated at `position`; its `extra` is kept or released. False without memory or room.
bool roster_adopt(struct team *team, struct session *session, size_t position, struct device *device);

// Entries that were not adopted since `roster_begin` are lost.
void roster_begin(struct team *team);
void roster_finish(struct team *team);

// After a read: shows what it found.
void entry_ended(struct team *team, struct entry *entry, enum pace pace, enum outcome outcome, int64_t now_ns);

// Lets the seat go, if there is one. Not while a call is in flight.
void entry_leave(struct team *team, struct entry *entry);

// The device is lost (with its event, once), or no longer readable for another reason.
void entry_stand(struct team *team, struct entry *entry, enum reason reason);

// The event of a vendor or (no team) of the kernel; finds the device. Takes the teams' locks itself.
void roster_event(struct crew *crew, struct team *team, enum event_source source, const struct vendor_event *event);

#endif
