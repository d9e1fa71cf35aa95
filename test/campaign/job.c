/*
 * A job of the campaign: job LEDGER INDEX MODE VALUE STDOUT-BYTES STDERR-BYTES SLEEP-MS
 *
 * Writes one line to the ledger that it has begun (job id and epoch, as its environment says), its output, sleeps, and
 * ends as told: MODE code: exits with VALUE; signal: kills itself with it; memory: takes memory until it is killed for it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY_MAX_MIB = 1024, EXIT_NO_LEDGER = 97, EXIT_CUT = 98, EXIT_NOT_KILLED = 99 };

/* The byte at an offset; plan.ts makes the same. */
static void put(int fd, uint32_t base, long size)
{
	unsigned char buffer[8192];
	for (long at = 0; at < size;) {
		long length = size - at < (long)sizeof buffer ? size - at : (long)sizeof buffer;
		for (long i = 0; i < length; i++) buffer[i] = (unsigned char)(((uint32_t)(at + i) + base) * 0x9e3779b1u >> 24);
		for (long from = 0; from < length;) {
			ssize_t n = write(fd, buffer + from, (size_t)(length - from));
			if (n < 0) _exit(EXIT_CUT);
			from += n;
		}
		at += length;
	}
}

int main(int argc, char **argv)
{
	if (argc != 8) return 96;
	const char *job = getenv("FLOPD_JOB_ID"), *epoch = getenv("FLOPD_EPOCH");
	char line[256];
	int size = snprintf(line, sizeof line, "%s %s %s\n", job ? job : "-", epoch ? epoch : "0", argv[2]);
	int ledger = open(argv[1], O_WRONLY | O_APPEND);
	if (ledger < 0 || write(ledger, line, (size_t)size) != size) return EXIT_NO_LEDGER;
	close(ledger);

	uint32_t index = (uint32_t)strtoul(argv[2], NULL, 10);
	put(1, index * 2u * 2654435761u, atol(argv[5]));
	put(2, (index * 2u + 1u) * 2654435761u, atol(argv[6]));
	long ms = atol(argv[7]);
	struct timespec rest = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&rest, NULL);

	int value = atoi(argv[4]);
	if (strcmp(argv[3], "code") == 0) return value;
	if (strcmp(argv[3], "signal") == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		signal(value, SIG_DFL);
		kill(getpid(), value);
		pause();
	}
	for (int mib = 0; mib < MEMORY_MAX_MIB; mib++) {
		char *block = malloc(1 << 20);
		if (block != NULL) memset(block, mib + 1, 1 << 20);
	}
	return EXIT_NOT_KILLED;
}
