#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

bool notify_send(const char *state, size_t length) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t path_length = path == NULL ? 0 : strlen(path);
  // A path, or `@name` for a name in the abstract space, which begins with a NUL and ends with its length.
  if (path_length < 2 || path_length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return false;
  memcpy(address.sun_path, path, path_length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length + (path[0] == '/'));
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  ssize_t sent;
  do sent = sendto(fd, state, length, MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
  while (sent < 0 && errno == EINTR);
  close(fd);
  return sent == (ssize_t)length;
}

int lock_file(const char *path) {
  // O_NONBLOCK and the check below: a FIFO in the place of the lock must not hang the agent.
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
  if (fd < 0) return -errno;
  struct stat status;
  int error = fstat(fd, &status) != 0 ? errno : S_ISREG(status.st_mode) ? 0 : EINVAL;
  // flock belongs to the open file: it ends with the process, and nobody else's close of the same path ends it.
  if (error == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) error = errno;
  if (error == 0) return fd;
  close(fd);
  return -error;
}
