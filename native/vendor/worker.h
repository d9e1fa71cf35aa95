// Inside the crew: workers, and what they share with listeners (listen.h). The head of worker.c says how it all goes.
#ifndef FLOPD_WORKER_H
#define FLOPD_WORKER_H

#include "roster.h"

static const int64_t BACKOFF_MIN_NS = 1000000000;  // between two tries to open a library

// A thread that holds the crew until it calls the other, as the last thing it does. Of crew.c.
bool crew_thread(struct crew *crew, void *(*run)(void *), void *argument);
void crew_thread_ends(struct crew *crew, bool was_stuck);

// All below: with the team's lock.

// Starts a worker in the place of the present one.
bool worker_start(struct team *team);

// The reader's tick: takes a worker that hangs out of its team.
void worker_watch(struct team *team, int64_t now_ns);

void team_state(struct team *team, enum team_state state, const char *problem);

// Lets go of a session and closes it if nobody else holds it; lets go of the lock for that.
void session_release(struct team *team, struct session *session);

#endif
