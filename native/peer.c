#include "peer.h"

#include <errno.h>
#include <sys/socket.h>

long long peer_user(int fd) {
  struct ucred peer = {0};
  socklen_t size = sizeof peer;
  int domain = 0;
  socklen_t domain_size = sizeof domain;
  // A TCP socket answers with the overflow user, which is a user like any other.
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) != 0) return -errno;
  if (domain != AF_UNIX) return -EINVAL;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -errno;
  return (long long)peer.uid;
}
