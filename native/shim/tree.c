/*
 * Every process of the job, by reading /proc: without a cgroup there is no other complete list. The descendants of
 * the shim are listed by the job's groups while it runs, else found by their parents, because orphans come to it
 * (subreaper): from the shim down where the kernel
 * lists children, so that the cost does not grow with what else runs on the host. That list may miss one while another
 * ends, so who must have all asks again until it has no child left. After a shim's death its orphans have gone
 * elsewhere; they are known by the three FLOPD_* entries of their environment, in a walk through all processes.
 */
#include "shim.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PROCESSES_MAX = 65536, ENVIRON_BYTES_MAX = 256 * 1024, CHILDREN_BYTES_MAX = 256 * 1024 };

static struct process {
	pid_t pid, parent, group;
	uint64_t start_time;
	int threads;
	bool zombie, ours;
} table[PROCESSES_MAX]; /* only the touched part costs memory */
static size_t count;
static const struct spec *followed;
static pid_t followed_child;

static ssize_t read_proc(pid_t pid, const char *name, char *into, size_t size)
{
	char path[48];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return -1;
	size_t at = 0;
	while (at < size) {
		ssize_t n = read(fd, into + at, size - at);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		at += (size_t)n;
	}
	close(fd);
	return (ssize_t)at;
}

/* Moves on by so many fields; NULL when there are not so many. */
static char *skip_fields(char *at, int fields)
{
	for (; fields > 0 && at != NULL; fields--) {
		at = strchr(at, ' ');
		if (at != NULL) at++;
	}
	return at;
}

/*
 * proc(5): pid (name) state ppid pgrp …, the number of threads as field 20 and the start time as field 22. The name
 * may hold anything, even ") ".
 */
static bool read_process(pid_t pid, struct process *process)
{
	char text[1024];
	ssize_t size = read_proc(pid, "stat", text, sizeof text - 1);
	if (size <= 0) return false;
	text[size] = '\0';
	char *at = strrchr(text, ')');
	if (at == NULL || at[1] == '\0') return false;
	char state;
	int parent, group;
	if (sscanf(at + 1, " %c %d %d", &state, &parent, &group) != 3) return false;
	char *threads = skip_fields(at + 2, 20 - 3), *start = skip_fields(threads, 2);
	if (start == NULL) return false;
	*process = (struct process){ pid, parent, group, strtoull(start, NULL, 10), atoi(threads),
		state == 'Z' || state == 'X', false };
	return true;
}

uint64_t tree_start_time(pid_t pid)
{
	struct process process;
	return read_process(pid, &process) ? process.start_time : 0;
}

static bool has_entry(const char *bytes, size_t size, const char *entry)
{
	size_t length = strlen(entry) + 1;
	for (const char *at = bytes; size - (size_t)(at - bytes) >= length;) {
		if (memcmp(at, entry, length) == 0) return true;
		const char *nul = memchr(at, '\0', size - (size_t)(at - bytes));
		if (nul == NULL) return false;
		at = nul + 1;
	}
	return false;
}

static bool carries(const struct process *process, const struct tree_marker *marker)
{
	static char bytes[ENVIRON_BYTES_MAX];
	if (process->pid == marker->pid && process->start_time == marker->start_time) return true;
	if (process->start_time < marker->start_time) return false;
	ssize_t size = read_proc(process->pid, "environ", bytes, sizeof bytes);
	if (size <= 0) return false;
	for (int i = 0; i < 3; i++)
		if (marker->entries[i] == NULL || !has_entry(bytes, (size_t)size, marker->entries[i])) return false;
	return true;
}

static void scan(void)
{
	static DIR *proc;
	count = 0;
	if (proc == NULL) proc = opendir("/proc");
	else rewinddir(proc);
	if (proc == NULL) return;
	for (struct dirent *entry; count < PROCESSES_MAX && (entry = readdir(proc)) != NULL;)
		if (isdigit((unsigned char)entry->d_name[0]) && read_process((pid_t)atoi(entry->d_name), &table[count])) count++;
}

static int by_pid(const void *a, const void *b)
{
	return ((const struct process *)a)->pid - ((const struct process *)b)->pid;
}

static void mark(const struct tree_marker *marker)
{
	pid_t self = getpid();
	qsort(table, count, sizeof *table, by_pid);
	for (size_t i = 0; i < count; i++)
		table[i].ours = table[i].pid != self
			&& (table[i].parent == self || (marker != NULL && !table[i].zombie && carries(&table[i], marker)));
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t i = 0; i < count; i++) {
			if (table[i].ours || table[i].pid == self) continue;
			struct process key = { .pid = table[i].parent };
			const struct process *parent = bsearch(&key, table, count, sizeof *table, by_pid);
			if (parent != NULL && parent->ours) table[i].ours = changed = true;
		}
	}
}

void tree_follow(const struct spec *spec, pid_t child)
{
	followed = spec;
	followed_child = child;
}

/* By the job's groups. False where it has none, or is not in them any more. */
static bool list_groups(void)
{
	enum { LISTED_MAX = 4096 };
	static pid_t pids[LISTED_MAX];
	size_t listed = followed == NULL ? 0 : cgroup_list(followed, followed_child, pids, LISTED_MAX);
	count = 0;
	for (size_t i = 0; i < listed; i++) {
		if (!read_process(pids[i], &table[count])) continue;
		table[count++].ours = true;
	}
	qsort(table, count, sizeof *table, by_pid);
	return listed > 0;
}

static bool is_ours(pid_t pid)
{
	if (pid == getpid()) return true;
	for (size_t i = 0; i < count; i++)
		if (table[i].pid == pid) return true;
	return false;
}

/* Adds the children of one thread. False when the kernel lists none at all. */
static bool add_children(pid_t pid, pid_t thread)
{
	static char text[CHILDREN_BYTES_MAX + 1];
	char name[48];
	snprintf(name, sizeof name, "task/%d/children", thread);
	ssize_t size = read_proc(pid, name, text, CHILDREN_BYTES_MAX);
	if (size < 0) return errno != ENOENT || pid != getpid();
	text[size] = '\0';
	for (char *at = text, *end; count < PROCESSES_MAX; at = end) {
		long child = strtol(at, &end, 10);
		if (end == at) break;
		struct process *process = &table[count];
		/* Its number may be another's by now: then its parent is a stranger. */
		if (!read_process((pid_t)child, process) || !is_ours(process->parent)) continue;
		process->ours = true;
		count++;
	}
	return true;
}

static void add_children_of_threads(pid_t pid)
{
	char path[32];
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *tasks = opendir(path);
	if (tasks == NULL) return;
	for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
		if (isdigit((unsigned char)entry->d_name[0])) add_children(pid, (pid_t)atoi(entry->d_name));
	closedir(tasks);
}

/* From the shim down. False where the kernel does not list children. */
static bool descend(void)
{
	count = 0;
	if (!add_children(getpid(), getpid())) return false;
	for (size_t i = 0; i < count; i++) {
		if (table[i].zombie) continue;
		if (table[i].threads > 1) add_children_of_threads(table[i].pid);
		else add_children(table[i].pid, table[i].pid);
	}
	qsort(table, count, sizeof *table, by_pid);
	return true;
}

static void send_one(int fd, pid_t pid, int sig)
{
	if (fd >= 0) syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
	else kill(pid, sig);
}

static void signal_one(const struct process *process, int sig)
{
	int fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (fd < 0 && errno != ENOSYS) return;
	if (tree_start_time(process->pid) == process->start_time) {
		send_one(fd, process->pid, sig);
		if (sig == SIGTERM) send_one(fd, process->pid, SIGCONT); /* a stopped one must hear it too */
	}
	if (fd >= 0) close(fd);
}

static bool is_spared(const struct process *process, const struct tree_spared *spared)
{
	if (spared == NULL) return false;
	if (spared->group > 0 && process->group == spared->group) return true;
	return process->pid == spared->pids[0] || process->pid == spared->pids[1];
}

int tree_signal(int sig, const struct tree_spared *spared, const struct tree_marker *marker)
{
	int alive = 0;
	if (marker != NULL || !(list_groups() || descend())) {
		scan();
		mark(marker);
	}
	for (size_t i = 0; i < count; i++) {
		if (!table[i].ours || table[i].zombie || is_spared(&table[i], spared)) continue;
		if (i > 0 && table[i].pid == table[i - 1].pid) continue; /* it changed its parent while we looked */
		alive++;
		signal_one(&table[i], sig);
	}
	return alive;
}
