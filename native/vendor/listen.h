// Who waits for events: a listener per session whose vendor has them, and the kernel's log; and what an event means.
#ifndef FLOPD_LISTEN_H
#define FLOPD_LISTEN_H

#include "roster.h"

// Starts a listener for the team's session, unless two of them are there already: one may hang. With the team's lock.
void listen_start(struct team *team);

// Follows the kernel's log; does nothing where it cannot be read.
void listen_kernel(struct crew *crew, const char *path);

#endif
