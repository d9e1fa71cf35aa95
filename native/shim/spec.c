/* Reads the order of one attempt. Format: see shim.c. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The agent accepts 128 KiB of arguments and environment; its own additions are small. */
enum { SPEC_BYTES_MAX = 1 << 20, LIST_MAX = 70000 };

struct cursor {
	char *at, *end;
	bool bad;
};

static char *next(struct cursor *cursor)
{
	char *text = cursor->at;
	char *nul = cursor->bad ? NULL : memchr(text, '\0', (size_t)(cursor->end - text));
	if (nul == NULL) {
		cursor->bad = true;
		return NULL;
	}
	cursor->at = nul + 1;
	return text;
}

static int64_t next_number(struct cursor *cursor, int64_t absent)
{
	char *text = next(cursor), *end;
	if (text == NULL || *text == '\0') return absent;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || value < 0) cursor->bad = true;
	return value;
}

static char **next_list(struct cursor *cursor)
{
	int64_t count = next_number(cursor, -1);
	if (cursor->bad || count < 0 || count > LIST_MAX) {
		cursor->bad = true;
		return NULL;
	}
	char **list = calloc((size_t)count + 1, sizeof *list);
	if (list == NULL) {
		cursor->bad = true;
		return NULL;
	}
	for (int64_t i = 0; i < count; i++) list[i] = next(cursor);
	return list;
}

int spec_read(struct spec *spec)
{
	int fd = open("spec", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return errno;
	struct stat stat;
	if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode) || stat.st_size > SPEC_BYTES_MAX) {
		close(fd);
		return EBADMSG;
	}
	char *bytes = malloc((size_t)stat.st_size + 1);
	if (bytes == NULL) {
		close(fd);
		return ENOMEM;
	}
	size_t size = 0;
	while (size < (size_t)stat.st_size) {
		ssize_t n = read(fd, bytes + size, (size_t)stat.st_size - size);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		size += (size_t)n;
	}
	close(fd);

	struct cursor cursor = { bytes, bytes + size, false };
	const char *magic = next(&cursor), *version = next(&cursor);
	if (magic == NULL || version == NULL || strcmp(magic, "flopd-spec") != 0 || strcmp(version, "1") != 0)
		return EBADMSG;
	spec->name = next(&cursor);
	spec->announce = next(&cursor);
	spec->time_limit_ms = next_number(&cursor, -1);
	spec->grace_ms = next_number(&cursor, 0);
	spec->cwd = next(&cursor);
	spec->argv = next_list(&cursor);
	spec->envp = next_list(&cursor);
	const char *last = next(&cursor);
	if (cursor.bad || strcmp(last, "end") != 0 || spec->argv[0] == NULL) return EBADMSG;
	return 0;
}
