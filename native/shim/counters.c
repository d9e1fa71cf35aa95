/* What the kernel counted of the job, by its control groups: processes killed for memory, peaks, CPU time. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

static const char *oom_file(const struct cgroup_plan *plan)
{
	if (!cgroup_has(plan, "memory")) return NULL;
	return plan->version == 2 ? "memory.events" : "memory.oom_control";
}

static int64_t read_number(const struct cgroup_plan *plan, const char *file)
{
	char text[64], *end;
	if (cgroup_read(plan, file, text, sizeof text) <= 0) return -1;
	long long value = strtoll(text, &end, 10);
	return end == text || value < 0 ? -1 : value;
}

/* The number that stands behind `key` at the beginning of a line. */
static int64_t read_keyed(const struct cgroup_plan *plan, const char *file, const char *key)
{
	char text[2048];
	size_t length = strlen(key);
	if (cgroup_read(plan, file, text, sizeof text) <= 0) return -1;
	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
		if (strncmp(line, key, length) == 0 && line[length] == ' ') return strtoll(line + length, NULL, 10);
	return -1;
}

static int watch_version_1(const struct cgroup_plan *plan)
{
	char path[4200], line[64];
	snprintf(path, sizeof path, "%.4000s/memory.oom_control", plan->folder);
	int watched = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	snprintf(path, sizeof path, "%.4000s/cgroup.event_control", plan->folder);
	int control = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	snprintf(line, sizeof line, "%d %d", event, watched);
	bool watching = watched >= 0 && control >= 0 && event >= 0 && write(control, line, strlen(line)) > 0;
	if (watched >= 0) close(watched);
	if (control >= 0) close(control);
	if (watching) return event;
	if (event >= 0) close(event);
	return -1;
}

int counters_watch(const struct spec *spec)
{
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const struct cgroup_plan *plan = &spec->cgroups[i];
		if (oom_file(plan) == NULL) continue;
		if (plan->version == 1) return watch_version_1(plan);
		char path[4200];
		snprintf(path, sizeof path, "%.4000s/%s", plan->folder, oom_file(plan));
		int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		if (fd >= 0 && inotify_add_watch(fd, path, IN_MODIFY) >= 0) return fd;
		if (fd >= 0) close(fd);
		return -1;
	}
	return -1;
}

bool counters_can_oom(const struct spec *spec)
{
	for (size_t i = 0; i < spec->cgroup_count; i++)
		if (oom_file(&spec->cgroups[i]) != NULL) return true;
	return false;
}

void counters_read_oom(const struct spec *spec, struct end_record *end)
{
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const struct cgroup_plan *plan = &spec->cgroups[i];
		if (oom_file(plan) == NULL) continue;
		int64_t kills = read_keyed(plan, oom_file(plan), "oom_kill");
		if (kills > end->oom_kills) end->oom_kills = kills;
		if (end->oom_kills > 0 && end->oom_ms < 0) end->oom_ms = wall_ms();
	}
}

void counters_read(const struct spec *spec, struct end_record *end)
{
	int64_t user_us = -1, system_us = -1;
	counters_read_oom(spec, end);
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const struct cgroup_plan *plan = &spec->cgroups[i];
		if (cgroup_has(plan, "memory"))
			end->memory_peak_bytes = read_number(plan, plan->version == 2 ? "memory.peak" : "memory.max_usage_in_bytes");
		if (cgroup_has(plan, "pids")) end->processes_peak = read_number(plan, "pids.peak");
		if (plan->version == 2) {
			if (user_us < 0) user_us = read_keyed(plan, "cpu.stat", "user_usec");
			if (system_us < 0) system_us = read_keyed(plan, "cpu.stat", "system_usec");
		} else if (cgroup_has(plan, "cpuacct")) {
			int64_t user_ns = read_number(plan, "cpuacct.usage_user"), system_ns = read_number(plan, "cpuacct.usage_sys");
			if (user_ns >= 0) user_us = user_ns / 1000;
			if (system_ns >= 0) system_us = system_ns / 1000;
		}
	}
	/* Groups also count processes that nobody waited for; where they count less, they came late or not at all. */
	if (user_us + system_us > end->user_us + end->system_us && user_us >= 0 && system_us >= 0) {
		end->user_us = user_us;
		end->system_us = system_us;
	}
}
