/* Reads the order of one attempt. Formats: see shim.c. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The agent accepts 128 KiB of arguments and environment; its own additions are small. */
enum { SPEC_BYTES_MAX = 1 << 20, LIST_MAX = 70000 };

char *cursor_text(struct cursor *cursor)
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

int64_t cursor_number(struct cursor *cursor, int64_t absent)
{
	char *text = cursor_text(cursor), *end;
	if (text == NULL || *text == '\0') return absent;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || value < 0) cursor->bad = true;
	return value;
}

char **cursor_list(struct cursor *cursor, int64_t count)
{
	char **list = cursor->bad || count < 0 || count > LIST_MAX ? NULL : calloc((size_t)count + 1, sizeof *list);
	if (list == NULL) {
		cursor->bad = true;
		return NULL;
	}
	for (int64_t i = 0; i < count; i++) list[i] = cursor_text(cursor);
	return list;
}

static void read_version_1(struct spec *spec, struct cursor *cursor)
{
	spec->name = cursor_text(cursor);
	spec->announce = cursor_text(cursor);
	spec->time_limit_ms = cursor_number(cursor, -1);
	spec->grace_ms = cursor_number(cursor, 0);
	spec->cwd = cursor_text(cursor);
	spec->argv = cursor_list(cursor, cursor_number(cursor, -1));
	spec->envp = cursor_list(cursor, cursor_number(cursor, -1));
	const char *last = cursor_text(cursor);
	if (last == NULL || strcmp(last, "end") != 0) cursor->bad = true;
}

static void read_user(struct spec *spec, struct cursor *values, int64_t count)
{
	if (count < 2 || count > 2 + GROUPS_MAX) {
		values->bad = true;
		return;
	}
	spec->has_user = true;
	spec->uid = (uid_t)cursor_number(values, 0);
	spec->gid = (gid_t)cursor_number(values, 0);
	spec->group_count = (size_t)count - 2;
	for (size_t i = 0; i < spec->group_count; i++) spec->groups[i] = (gid_t)cursor_number(values, 0);
}

static void read_cgroup(struct spec *spec, struct cursor *values, int64_t count)
{
	if (count < 3 || count % 2 == 0 || spec->cgroup_count == CGROUPS_MAX) {
		values->bad = true;
		return;
	}
	struct cgroup_plan *plan = &spec->cgroups[spec->cgroup_count++];
	plan->folder = cursor_text(values);
	plan->version = (int)cursor_number(values, 0);
	plan->controllers = cursor_text(values);
	plan->settings = cursor_list(values, count - 3);
	if (values->bad || *plan->folder != '/') values->bad = true;
	for (char **setting = plan->settings; !values->bad && *setting != NULL; setting += 2)
		if (strchr(*setting, '/') != NULL) values->bad = true;
}

static void read_after(struct spec *spec, struct cursor *values, int64_t count)
{
	if (count < 4 || spec->after_count == AFTER_MAX) {
		values->bad = true;
		return;
	}
	struct after_command *after = &spec->after[spec->after_count++];
	after->timeout_ms = cursor_number(values, 0);
	after->output = cursor_text(values);
	int64_t argc = cursor_number(values, 0);
	after->argv = cursor_list(values, argc);
	after->envp = cursor_list(values, count - 3 - argc);
	if (values->bad || argc < 1 || strchr(after->output, '/') != NULL) values->bad = true;
}

/* Reads a section's `count` values; whatever it leaves unread is passed over by the caller. */
static void read_section(struct spec *spec, const char *name, struct cursor *values, int64_t count)
{
	const struct {
		const char *name;
		int64_t *value;
	} numbers[] = {
		{ "time-limit-ms", &spec->time_limit_ms }, { "grace-ms", &spec->grace_ms },
		{ "output-quota", &spec->quota_bytes }, { "lease-ms", &spec->lease_ms },
	};
	const struct {
		const char *name;
		const char **value;
	} texts[] = { { "name", &spec->name }, { "announce", &spec->announce }, { "cwd", &spec->cwd } };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (strcmp(name, numbers[i].name) == 0) *numbers[i].value = cursor_number(values, -1);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (strcmp(name, texts[i].name) == 0) *texts[i].value = cursor_text(values);
	if (strcmp(name, "argv") == 0) spec->argv = cursor_list(values, count);
	else if (strcmp(name, "env") == 0) spec->envp = cursor_list(values, count);
	else if (strcmp(name, "wrap") == 0) spec->wrap = count == 0 ? NULL : cursor_list(values, count);
	else if (strcmp(name, "filter") == 0) spec->filtered = cursor_number(values, 0) == 1;
	else if (strcmp(name, "rlimits") == 0) spec->rlimits = count % 2 == 0 ? cursor_list(values, count) : NULL;
	else if (strcmp(name, "checkpoint") == 0) {
		spec->checkpoint_signal = (int)cursor_number(values, 0);
		spec->checkpoint_before_ms = cursor_number(values, -1);
		if (spec->checkpoint_signal < 1 || spec->checkpoint_signal >= NSIG) values->bad = true;
	} else if (strcmp(name, "user") == 0) read_user(spec, values, count);
	else if (strcmp(name, "cgroup") == 0) read_cgroup(spec, values, count);
	else if (strcmp(name, "after") == 0) read_after(spec, values, count);
	else if (strcmp(name, "client") == 0) spec->beside = cursor_list(values, count);
	else if (strcmp(name, "client-terminal") == 0) spec->beside_terminal = cursor_list(values, count);
}

static void read_version_2(struct spec *spec, struct cursor *cursor)
{
	for (;;) {
		const char *name = cursor_text(cursor);
		if (name == NULL || strcmp(name, "end") == 0) return;
		int64_t count = cursor_number(cursor, -1);
		struct cursor values = *cursor;
		if (count < 0) cursor->bad = true;
		for (int64_t i = 0; i < count && !cursor->bad; i++) cursor_text(cursor);
		if (cursor->bad) return;
		values.end = cursor->at; /* no section reads what belongs to the next */
		read_section(spec, name, &values, count);
		if (values.bad) cursor->bad = true;
	}
}

int spec_read(struct spec *spec, int fd)
{
	*spec = (struct spec){ .time_limit_ms = -1, .quota_bytes = -1, .lease_ms = -1, .checkpoint_before_ms = -1 };
	struct stat stat;
	if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode) || stat.st_size > SPEC_BYTES_MAX) return EBADMSG;
	char *bytes = malloc((size_t)stat.st_size + 1);
	if (bytes == NULL) return ENOMEM;
	size_t size = 0;
	while (size < (size_t)stat.st_size) {
		ssize_t n = pread(fd, bytes + size, (size_t)stat.st_size - size, (off_t)size);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		size += (size_t)n;
	}
	struct cursor cursor = { bytes, bytes + size, false };
	const char *magic = cursor_text(&cursor), *version = cursor_text(&cursor);
	if (magic == NULL || version == NULL || strcmp(magic, "flopd-spec") != 0) return EBADMSG;
	if (strcmp(version, "1") == 0) read_version_1(spec, &cursor);
	else if (strcmp(version, "2") == 0) read_version_2(spec, &cursor);
	else return EBADMSG;
	if (cursor.bad || spec->name == NULL || spec->announce == NULL || spec->cwd == NULL || spec->grace_ms < 0)
		return EBADMSG;
	return spec->argv == NULL || spec->argv[0] == NULL || spec->envp == NULL ? EBADMSG : 0;
}
