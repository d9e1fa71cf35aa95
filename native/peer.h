// Who is at the other end of a Unix socket.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// User id of the process that connected, as the kernel noted it then (SO_PEERCRED); a negative errno for a descriptor
// that is no connected Unix socket.
long long peer_user(int fd);

#ifdef __cplusplus
}
#endif
