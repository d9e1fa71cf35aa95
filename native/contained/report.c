/*
 * What became of a container job, text of `key=value` lines, the last one `complete=1`. Counters are those of the
 * container's control group as it sees it itself: version 2 at the root of its namespace, version 1 below the names of
 * the controllers. A number that is not known is -1, which readers take for absent.
 */
#include "contained.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1024 };

void umask_for_program(void)
{
	umask(022);
}

static void write_file(int folder, const char *name, const char *text)
{
	char temporary[32];
	snprintf(temporary, sizeof temporary, "%s.tmp", name);
	int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) return;
	size_t size = strlen(text);
	bool whole = write(fd, text, size) == (ssize_t)size;
	close(fd);
	/* A report that the disk refuses is absent: the agent then knows what the runtime knows. */
	if (whole) renameat(folder, temporary, folder, name);
}

void report_running(int folder, int64_t started_ms)
{
	char text[TEXT_BYTES_MAX];
	snprintf(text, sizeof text, "flopd-running=1\nstartedAtMs=%" PRId64 "\ncomplete=1\n", started_ms);
	write_file(folder, "running", text);
}

void report_write(int folder, const struct report *report)
{
	char text[TEXT_BYTES_MAX];
	snprintf(text, sizeof text,
		"flopd-report=1\nkind=%s\nexitCode=%d\nsignal=%d\nstep=%.32s\nerrno=%d\n"
		"startedAtMs=%" PRId64 "\nendedAtMs=%" PRId64 "\ndurationUs=%" PRId64 "\nuserUs=%" PRId64 "\nsystemUs=%" PRId64
		"\nmaxResidentBytes=%" PRId64 "\nmemoryPeakBytes=%" PRId64 "\nprocessesPeak=%" PRId64
		"\noutOfMemoryKills=%" PRId64 "\nsurvivors=%d\ncomplete=1\n",
		report->kind, report->exit_code, report->signal, report->step, report->error, report->started_ms,
		report->ended_ms, report->duration_us, report->user_us, report->system_us, report->max_resident_bytes,
		report->memory_peak_bytes, report->processes_peak, report->out_of_memory_kills, report->survivors);
	write_file(folder, "report", text);
}

/* The number after `key ` in a file, or at its start for an empty key; -1 when it is not there. */
static int64_t read_counter(const char *path, const char *key)
{
	char text[TEXT_BYTES_MAX * 2];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return -1;
	ssize_t size = read(fd, text, sizeof text - 1);
	close(fd);
	if (size <= 0) return -1;
	text[size] = '\0';
	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		size_t length = strlen(key);
		if (strncmp(line, key, length) != 0 || (length > 0 && line[length] != ' ')) continue;
		char *end, *from = line + length;
		long long value = strtoll(from, &end, 10);
		return end == from || value < 0 ? -1 : value;
	}
	return -1;
}

static int64_t read_either(const char *in_v2, const char *in_v1, const char *key)
{
	int64_t value = read_counter(in_v2, key);
	return value >= 0 ? value : read_counter(in_v1, key);
}

void report_count(struct report *report)
{
	report->memory_peak_bytes =
		read_either("/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "");
	report->processes_peak = read_either("/sys/fs/cgroup/pids.peak", "/sys/fs/cgroup/pids/pids.peak", "");
	report->out_of_memory_kills =
		read_either("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "oom_kill");
}
