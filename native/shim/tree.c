/*
 * Every process of the job, by reading /proc: without a cgroup there is no other complete list. The descendants of
 * the shim are found by their parents, because orphans come to it (subreaper). After a shim's death its orphans
 * have gone elsewhere; they are known by the three FLOPD_* entries of their environment.
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

enum { PROCESSES_MAX = 65536, ENVIRON_BYTES_MAX = 256 * 1024 };

static struct process {
	pid_t pid, parent, group;
	uint64_t start_time;
	bool zombie, ours;
} table[PROCESSES_MAX]; /* only the touched part costs memory */
static size_t count;

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

/* proc(5): pid (name) state ppid pgrp …, and the start time as field 22. The name may hold anything, even ") ". */
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
	at += 2;
	for (int field = 3; field < 22 && at != NULL; field++) {
		at = strchr(at, ' ');
		if (at != NULL) at++;
	}
	if (at == NULL) return false;
	*process = (struct process){ pid, parent, group, strtoull(at, NULL, 10), state == 'Z' || state == 'X', false };
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

static void signal_one(const struct process *process, int sig)
{
	int fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (fd < 0 && errno != ENOSYS) return;
	if (tree_start_time(process->pid) == process->start_time) {
		if (fd >= 0) syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
		else kill(process->pid, sig);
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
	scan();
	mark(marker);
	for (size_t i = 0; i < count; i++) {
		if (!table[i].ours || table[i].zombie || is_spared(&table[i], spared)) continue;
		alive++;
		signal_one(&table[i], sig);
	}
	return alive;
}
