/* Reads the order of one container job. Format: see contained.c. */
#include "contained.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The agent accepts 128 KiB of arguments and environment; its own additions and the image's are small. */
enum { ORDER_BYTES_MAX = 1 << 20, LIST_MAX = 70000, GROUPS_MAX = 256 };
static const long ID_MAX = 0xfffffffeL;

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
		return "";
	}
	cursor->at = nul + 1;
	return text;
}

static long next_number(struct cursor *cursor, long maximum)
{
	char *text = next(cursor), *end;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (*text == '\0' || *end != '\0' || errno != 0 || value < 0 || value > maximum) cursor->bad = true;
	return cursor->bad ? 0 : value;
}

static char **next_list(struct cursor *cursor)
{
	long count = next_number(cursor, LIST_MAX);
	char **list = calloc((size_t)count + 1, sizeof *list);
	if (list == NULL) {
		cursor->bad = true;
		return NULL;
	}
	for (long i = 0; i < count; i++) list[i] = next(cursor);
	return list;
}

int order_read(int folder, struct order *order)
{
	int fd = openat(folder, "order", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return errno;
	struct stat stat_of;
	if (fstat(fd, &stat_of) < 0 || !S_ISREG(stat_of.st_mode) || stat_of.st_size > ORDER_BYTES_MAX) {
		close(fd);
		return EBADMSG;
	}
	char *bytes = malloc((size_t)stat_of.st_size + 1);
	size_t size = 0;
	while (bytes != NULL && size < (size_t)stat_of.st_size) {
		ssize_t n = read(fd, bytes + size, (size_t)stat_of.st_size - size);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		size += (size_t)n;
	}
	close(fd);
	if (bytes == NULL) return ENOMEM;

	struct cursor cursor = { bytes, bytes + size, false };
	const char *magic = next(&cursor), *version = next(&cursor);
	if (strcmp(magic, "flopd-contained") != 0 || strcmp(version, "1") != 0) return EBADMSG;
	order->cwd = next(&cursor);
	order->has_user = !cursor.bad && *cursor.at != '\0';
	if (order->has_user) {
		order->uid = (uid_t)next_number(&cursor, ID_MAX);
		order->gid = (gid_t)next_number(&cursor, ID_MAX);
	} else {
		next(&cursor);
		next(&cursor);
	}
	order->group_count = (size_t)next_number(&cursor, GROUPS_MAX);
	order->groups = calloc(order->group_count + 1, sizeof *order->groups);
	if (order->groups == NULL) return ENOMEM;
	for (size_t i = 0; i < order->group_count; i++) order->groups[i] = (gid_t)next_number(&cursor, ID_MAX);
	order->argv = next_list(&cursor);
	order->envp = next_list(&cursor);
	const char *last = next(&cursor);
	if (cursor.bad || strcmp(last, "end") != 0 || order->argv[0] == NULL) return EBADMSG;
	return 0;
}
