/* noisy.mjs for places without Node: BYTES of a known sequence on stdout, and their complements on stderr. */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static void put(int fd, const uint32_t *words, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = write(fd, (const char *)words + at, size - at);
		if (n < 0) _exit(1);
		at += (size_t)n;
	}
}

int main(int argc, char **argv)
{
	enum { WORDS = 16384 };
	static uint32_t out[WORDS], err[WORDS];
	uint32_t state = 1;
	for (long left = argc > 1 ? atol(argv[1]) / 4 : 0; left > 0; left -= WORDS) {
		size_t count = left < WORDS ? (size_t)left : WORDS;
		for (size_t i = 0; i < count; i++) {
			state = state * 1664525u + 1013904223u;
			out[i] = state;
			err[i] = ~state;
		}
		put(1, out, count * 4);
		put(2, err, count * 4);
	}
	return 0;
}
