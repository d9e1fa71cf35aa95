/* The no-op that the benches run: appends the time at which it started to a file, 8 bytes, CLOCK_MONOTONIC in ns.
 *
 *   stamp FILE            one stamp
 *   stamp FILE N          the floor: N times posix_spawn of itself and wait, one after the other; prints for each
 *                         the ns from the call to the stamp */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	int64_t started = now();
	if (argc < 2) return 2;
	if (argc == 2) {
		int fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		return fd >= 0 && write(fd, &started, sizeof started) == sizeof started ? 0 : 1;
	}
	int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) return 1;
	char *child_argv[] = { argv[0], argv[1], NULL };
	for (long i = 0, n = atol(argv[2]); i < n; i++) {
		pid_t pid;
		int status;
		int64_t stamp, before = now();
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, child_argv, environ) != 0) return 1;
		if (waitpid(pid, &status, 0) != pid || status != 0) return 1;
		if (pread(fd, &stamp, sizeof stamp, i * (long)sizeof stamp) != sizeof stamp) return 1;
		printf("%lld\n", (long long)(stamp - before));
	}
	return 0;
}
