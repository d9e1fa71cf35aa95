// Telling systemd, and taking locks.
#ifndef FLOPD_NOTIFY_H
#define FLOPD_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Sends one datagram to $NOTIFY_SOCKET; false where there is none or it failed. Never blocks.
bool notify_send(const char *state, size_t length);

// See lockFile in src/native.ts. The descriptor, -EWOULDBLOCK when another holds it, or another negative errno.
int lock_file(const char *path);

#ifdef __cplusplus
}
#endif

#endif
