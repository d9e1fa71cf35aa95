// Binds a datagram socket (argv[1]; `@name` is abstract), says "ready", and prints the first datagram it gets.
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  if (argv[1][0] == '@') address.sun_path[0] = '\0';
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(argv[1]) + (argv[1][0] != '@'));
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0) return 1;
  puts("ready");
  fflush(stdout);
  char text[70000];
  alarm(10);
  ssize_t got = recv(fd, text, sizeof text, 0);
  if (got < 0) return 1;
  return fwrite(text, 1, (size_t)got, stdout) == (size_t)got ? 0 : 1;
}
