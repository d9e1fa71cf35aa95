/*
 * The two records of an attempt, text of `key=value` lines, the last one `complete=1`: `started` is written by the
 * job's own process just before it becomes the program, `end` by the shim as its last act. Neither is synced: they
 * must survive every death of a process, and after a power cut the boot id says that nothing runs any more; the
 * agent syncs the result into its journal before it tells anyone.
 */
#include "shim.h"

#include "fault-points.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { END_BYTES_MAX = 6144, STARTED_BYTES_MAX = 512 };

int64_t wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t monotonic_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int write_all(int fd, const char *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = pwrite(fd, bytes + at, size - at, (off_t)at);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return errno;
		at += (size_t)n;
	}
	return 0;
}

void record_reserve_end(void)
{
	static const char blank[END_BYTES_MAX];
	int fd = open("end.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) return;
	if (write_all(fd, blank, sizeof blank) != 0) errno = 0; /* nothing reserved: the end is retried instead */
	close(fd);
}

void record_refusal(struct end_record *end, const char *what, int error)
{
	char line[REFUSAL_BYTES_MAX];
	snprintf(line, sizeof line, "%.80s %d", what, error);
	for (char *at = line; *at != '\0'; at++)
		if (*at == '\n') *at = ' ';
	for (int i = 0; i < end->refusal_count; i++)
		if (strcmp(end->refusals[i], line) == 0) return;
	if (end->refusal_count < REFUSALS_MAX) strcpy(end->refusals[end->refusal_count++], line);
}

/* Numbers below zero are unknown and left out. */
static int add_known(char *text, int size, int room, const char *key, int64_t value)
{
	return value < 0 ? 0 : snprintf(text + size, (size_t)(room - size), "%s=%" PRId64 "\n", key, value);
}

static int format_end(char *text, int room, const struct end_record *end)
{
	int size = snprintf(text, (size_t)room,
		"flopd-end=1\nkind=%s\nexitCode=%d\nsignal=%d\nstopped=%s\nkilled=%d\nfailedStep=%s\nerrno=%d\n"
		"startedAtMs=%" PRId64 "\nendedAtMs=%" PRId64 "\ndurationUs=%" PRId64 "\n"
		"userUs=%" PRId64 "\nsystemUs=%" PRId64 "\nmaxResidentBytes=%" PRId64 "\n"
		"stdoutBytes=%" PRIu64 "\nstderrBytes=%" PRIu64 "\noutputErrno=%d\nsurvivors=%d\n",
		end->kind, end->exit_code, end->signal, end->stopped, end->killed, end->failed_step, end->error,
		end->started_ms, end->ended_ms, end->duration_us, end->user_us, end->system_us, end->max_rss_bytes,
		end->stdout_bytes, end->stderr_bytes, end->output_error, end->survivors);
	if (end->survivors > 0) { /* we wait for them */
		size += add_known(text, size, room, "shimPid", getpid());
		size += add_known(text, size, room, "shimStartTime", (int64_t)tree_start_time(getpid()));
	}
	size += add_known(text, size, room, "memoryPeakBytes", end->memory_peak_bytes);
	size += add_known(text, size, room, "processesPeak", end->processes_peak);
	size += add_known(text, size, room, "oomKills", end->oom_kills);
	size += add_known(text, size, room, "oomAtMs", end->oom_ms);
	size += add_known(text, size, room, "checkpointAtMs", end->checkpoint_ms);
	for (int i = 0; i < end->gap_count; i++)
		size += snprintf(text + size, (size_t)(room - size), "gap=%s %s %" PRIu64 " %" PRIu64 "\n", end->gaps[i].stream,
			end->gaps[i].reason, end->gaps[i].from, end->gaps[i].to);
	for (int i = 0; i < end->refusal_count; i++)
		size += snprintf(text + size, (size_t)(room - size), "refused=%s\n", end->refusals[i]);
	size += snprintf(text + size, (size_t)(room - size), "detail=%s\ncomplete=1\n", end->detail);
	return size;
}

int record_end_offer(const struct end_record *end)
{
	static char text[END_BYTES_MAX];
	int size = format_end(text, sizeof text, end);
	int fd = memfd_create("flopd-end", MFD_CLOEXEC);
	if (fd < 0 || write_all(fd, text, (size_t)size) == 0) return fd;
	close(fd);
	return -1;
}

int record_end(const struct end_record *end)
{
	static char text[END_BYTES_MAX]; /* larger than all that can be in it */
	int size = format_end(text, sizeof text, end);
	int fd = open("end.tmp", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) return errno;
	int error = write_all(fd, text, (size_t)size);
	if (error == 0 && ftruncate(fd, size) < 0) error = errno;
	if (close(fd) < 0 && error == 0) error = errno;
	if (error == 0) fault_hit("end.written");
	if (error == 0 && rename("end.tmp", "end") < 0) error = errno;
	return error;
}

int record_started(int folder, const char *boot_id, pid_t shim, int64_t at_ms)
{
	int fd = openat(folder, "started", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) return errno;
	pid_t self = getpid();
	char text[STARTED_BYTES_MAX];
	int size = snprintf(text, sizeof text,
		"flopd-started=1\npid=%d\nstartTime=%" PRIu64 "\nbootId=%.63s\nshimPid=%d\nwallMs=%" PRId64 "\ncomplete=1\n",
		self, tree_start_time(self), boot_id, shim, at_ms);
	int error = write_all(fd, text, (size_t)size);
	close(fd);
	return error;
}

static const char *value_of(const char *text, const char *key)
{
	const char *found = strstr(text, key);
	return found == NULL ? NULL : found + strlen(key);
}

int record_read_started(struct started_record *record)
{
	memset(record, 0, sizeof *record);
	int fd = open("started", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) return errno;
	char text[STARTED_BYTES_MAX + 1];
	ssize_t size = read(fd, text, STARTED_BYTES_MAX);
	int error = errno;
	close(fd);
	if (size < 0) return error;
	text[size] = '\0';
	record->complete = strstr(text, "\ncomplete=1\n") != NULL;
	if (!record->complete) return 0;
	const char *pid = value_of(text, "\npid="), *time = value_of(text, "\nstartTime=");
	const char *boot = value_of(text, "\nbootId="), *wall = value_of(text, "\nwallMs=");
	if (pid == NULL || time == NULL || boot == NULL || wall == NULL) {
		record->complete = false;
		return 0;
	}
	record->pid = (pid_t)strtol(pid, NULL, 10);
	record->start_time = strtoull(time, NULL, 10);
	record->wall_ms = strtoll(wall, NULL, 10);
	size_t length = strcspn(boot, "\n");
	if (length >= sizeof record->boot_id) length = sizeof record->boot_id - 1;
	memcpy(record->boot_id, boot, length);
	return 0;
}
