/* Floor of starting a job: posix_spawn and wait of one program, N times one after the other. Prints ns of each. */
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc < 3) return 2;
	for (int left = atoi(argv[1]); left > 0; left--) {
		pid_t pid;
		int status;
		int64_t from_ns = now_ns();
		if (posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0) return 1;
		if (waitpid(pid, &status, 0) != pid || status != 0) return 1;
		printf("%lld\n", (long long)(now_ns() - from_ns));
	}
	return 0;
}
