/*
 * The control groups of one attempt: made before the job, left by everything at its end, and removed. They know every
 * process of the job, also one that has cleared its environment and left its parents. Version 1 and 2 alike; what the
 * kernel refuses is noted, never fatal. A job with enough privilege may have made groups below: these count too.
 */
#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH_MAX = 8, PROCS_MAX = 4096 };

/* clone3 as of Linux 5.7, for older headers (linux/sched.h). */
enum { CLONE3 = 435 };
static const uint64_t INTO_CGROUP = 0x200000000;
struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static int open_folder(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static int write_at(int folder, const char *file, const char *value)
{
	int fd = openat(folder, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return errno;
	int error = write(fd, value, strlen(value)) < 0 ? errno : 0;
	close(fd);
	return error;
}

static ssize_t read_at(int folder, const char *file, char *into, size_t size)
{
	int fd = openat(folder, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return -1;
	ssize_t n, at = 0;
	while ((n = read(fd, into + at, size - 1 - (size_t)at)) > 0) at += n;
	close(fd);
	into[at] = '\0';
	return n < 0 ? -1 : at;
}

ssize_t cgroup_read(const struct cgroup_plan *plan, const char *file, char *into, size_t size)
{
	int folder = open_folder(plan->folder);
	if (folder < 0) return -1;
	ssize_t n = read_at(folder, file, into, size);
	close(folder);
	return n;
}

bool cgroup_has(const struct cgroup_plan *plan, const char *controller)
{
	size_t length = strlen(controller);
	for (const char *at = plan->controllers; *at != '\0'; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == length && memcmp(at, controller, length) == 0) return true;
	return false;
}

static void name_group(char *into, size_t size, const struct cgroup_plan *plan)
{
	snprintf(into, size, "cgroup %.64s", plan->controllers);
}

void cgroup_make(const struct spec *spec, struct end_record *end)
{
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const struct cgroup_plan *plan = &spec->cgroups[i];
		int folder = mkdir(plan->folder, 0755) < 0 && errno != EEXIST ? -1 : open_folder(plan->folder);
		if (folder < 0) {
			int error = errno;
			char what[REFUSAL_BYTES_MAX];
			name_group(what, sizeof what, plan);
			record_refusal(end, what, error);
			continue;
		}
		for (char **setting = plan->settings; setting[0] != NULL && setting[1] != NULL; setting += 2) {
			int error = write_at(folder, setting[0], setting[1]);
			if (error != 0) record_refusal(end, setting[0], error);
		}
		close(folder);
	}
}

static bool is_refused(const struct end_record *end, const char *file)
{
	size_t length = strlen(file);
	for (int i = 0; i < end->refusal_count; i++)
		if (strncmp(end->refusals[i], file, length) == 0 && end->refusals[i][length] == ' ') return true;
	return false;
}

/* `now` is what a file of a group says, `wanted` what was written to it. */
static bool is_held(const char *file, const char *wanted, const char *now)
{
	size_t length = strcspn(now, "\n");
	if (length == strlen(wanted) && memcmp(now, wanted, length) == 0) return true;
	const char *key = strchr(wanted, ' ');
	if (key != NULL) { /* one line per disk, with more keys than were written: `8:0 rbps=1048576 wbps=max …` */
		for (const char *line = now; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
			if (strncmp(line, wanted, (size_t)(key - wanted) + 1) != 0) continue;
			size_t size = strlen(key);
			for (const char *at = line; *at != '\0' && *at != '\n'; at++)
				if (*at == ' ' && strncmp(at, key, size) == 0 && strchr(" \n", at[size]) != NULL) return true;
		}
		return false;
	}
	/* The kernel rounds memory down to pages, and cgroup_close leaves no process. */
	char *end;
	unsigned long long number = strtoull(now, &end, 10);
	bool is_ceiling = strstr(file, ".max") != NULL || strstr(file, "limit_in_bytes") != NULL;
	return is_ceiling && end != now && number <= strtoull(wanted, NULL, 10);
}

void cgroup_verify(const struct spec *spec, struct end_record *end)
{
	char now[4096];
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const struct cgroup_plan *plan = &spec->cgroups[i];
		int folder = open_folder(plan->folder);
		if (folder < 0) continue; /* never made, which is told, or removed by an earlier shim */
		for (char **setting = plan->settings; setting[0] != NULL && setting[1] != NULL; setting += 2) {
			if (is_refused(end, setting[0])) continue;
			if (read_at(folder, setting[0], now, sizeof now) < 0) record_refusal(end, setting[0], errno);
			else if (!is_held(setting[0], setting[1], now)) record_refusal(end, setting[0], 0);
		}
		close(folder);
	}
}

/*
 * Moving a process by cgroup.procs waits until no processor is in the middle of a fork or an end (a grace period of the
 * kernel's: 11 ms on a busy machine of two cores), with all other changes of groups behind it. Two ways are without that:
 * a process is born in a group of version 2, and one of a single thread moves itself by the file `tasks` of version 1.
 */
pid_t cgroup_fork(const struct spec *spec, size_t *joined)
{
	for (*joined = 0; *joined < spec->cgroup_count; ++*joined) {
		int folder = open_folder(spec->cgroups[*joined].folder);
		if (folder < 0) continue;
		pid_t pid = -1;
		if (faccessat(folder, "tasks", F_OK, 0) < 0) {
			struct clone3_args args = { .flags = INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)folder };
			pid = (pid_t)syscall(CLONE3, &args, sizeof args);
		}
		close(folder);
		if (pid >= 0) return pid;
	}
	*joined = CGROUPS_MAX;
	return fork(); /* an old kernel, a filter of system calls, or a group that takes nobody: joining it says why */
}

static int join(int folder)
{
	int error = write_at(folder, "tasks", "0");
	return error == ENOENT ? write_at(folder, "cgroup.procs", "0") : error;
}

void cgroup_join(const struct spec *spec, size_t joined, int channel_fd)
{
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const struct cgroup_plan *plan = &spec->cgroups[i];
		int folder = i == joined ? -1 : open_folder(plan->folder);
		if (folder < 0) continue; /* told when it could not be made */
		int error = join(folder);
		close(folder);
		char what[REFUSAL_BYTES_MAX];
		name_group(what, sizeof what, plan);
		if (error != 0) channel_refuse(channel_fd, what, error);
	}
}

void cgroup_close(const struct spec *spec)
{
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		if (!cgroup_has(&spec->cgroups[i], "pids")) continue;
		int folder = open_folder(spec->cgroups[i].folder);
		if (folder < 0) continue;
		write_at(folder, "pids.max", "0");
		close(folder);
	}
}

static size_t read_processes(int folder, pid_t *pids)
{
	static char text[PROCS_MAX * 8];
	size_t count = 0;
	if (read_at(folder, "cgroup.procs", text, sizeof text) <= 0) return 0;
	for (char *at = text, *end; count < PROCS_MAX; at = end) {
		long pid = strtol(at, &end, 10);
		if (end == at) break;
		if (pid > 0) pids[count++] = (pid_t)pid;
	}
	return count;
}

static bool is_listed(pid_t pid, const pid_t *pids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pids[i] == pid) return true;
	return false;
}

size_t cgroup_list(const struct spec *spec, pid_t member, pid_t *pids, size_t room)
{
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		int folder = open_folder(spec->cgroups[i].folder);
		if (folder < 0) continue;
		size_t count = room < PROCS_MAX ? 0 : read_processes(folder, pids);
		close(folder);
		if (count < PROCS_MAX && is_listed(member, pids, count)) return count;
	}
	return 0;
}

/*
 * A number that is listed may be another process's a moment later. One that is still listed after a descriptor for it
 * was opened belongs to the group, and the descriptor to it.
 */
static int kill_listed(int folder)
{
	static pid_t before[PROCS_MAX], after[PROCS_MAX];
	static int fds[PROCS_MAX];
	size_t count = read_processes(folder, before);
	for (size_t i = 0; i < count; i++) fds[i] = (int)syscall(SYS_pidfd_open, before[i], 0);
	size_t still = count == 0 ? 0 : read_processes(folder, after);
	for (size_t i = 0; i < count; i++) {
		bool ours = is_listed(before[i], after, still);
		if (fds[i] >= 0) {
			if (ours) syscall(SYS_pidfd_send_signal, fds[i], SIGKILL, NULL, 0);
			close(fds[i]);
		} else if (ours && before[i] != getpid()) kill(before[i], SIGKILL); /* no descriptor to be had */
	}
	return (int)count;
}

/* Visits the groups below first. Returns the sum of what `visit` gave. */
static int walk(int parent, const char *name, int depth, int (*visit)(int parent, const char *name, int folder))
{
	int sum = 0, folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (folder < 0) return 0;
	DIR *list = depth < DEPTH_MAX ? fdopendir(dup(folder)) : NULL;
	if (list != NULL) {
		for (struct dirent *entry; (entry = readdir(list)) != NULL;)
			if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
				sum += walk(folder, entry->d_name, depth + 1, visit);
		closedir(list);
	}
	sum += visit(parent, name, folder);
	close(folder);
	return sum;
}

static int visit_kill(int parent, const char *name, int folder)
{
	(void)parent;
	(void)name;
	return kill_listed(folder);
}

static int visit_remove(int parent, const char *name, int folder)
{
	(void)folder;
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? 1 : 0;
}

int cgroup_kill(const struct spec *spec)
{
	int found = 0;
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		int folder = open_folder(spec->cgroups[i].folder);
		if (folder < 0) continue;
		write_at(folder, "cgroup.kill", "1"); /* version 2: all at once, also those being forked */
		close(folder);
		int here = walk(AT_FDCWD, spec->cgroups[i].folder, 0, visit_kill);
		if (here > found) found = here; /* the same processes are in each of them */
	}
	return found;
}

bool cgroup_remove(const struct spec *spec)
{
	int left = 0;
	for (size_t i = 0; i < spec->cgroup_count; i++) {
		const char *folder = spec->cgroups[i].folder;
		/* Nearly always there is no group below: one call instead of a list of the kernel's files. */
		if (rmdir(folder) < 0 && errno != ENOENT) left += walk(AT_FDCWD, folder, 0, visit_remove);
	}
	return left == 0;
}
