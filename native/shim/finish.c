/* The end of an attempt: what is recorded, and what an earlier shim left undone. */
#include "attempt.h"

#include "fault-points.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t END_RETRY_US = 200 * MS, END_DEADLINE_US = 3600000 * MS;
static const int64_t REMOVE_DEADLINE_US = 2000 * MS;  /* how long the end waits for the groups to be removed */
static const int64_t LINGER_EVERY_US = 1000 * MS;
static const int LINGER_ROUNDS_MAX = 60;              /* for a group that stays though nothing is left in it */

static bool folder_is_gone(void)
{
	struct stat stat_of;
	return fstat(shim.folder, &stat_of) == 0 && stat_of.st_nlink == 0;
}

/* The kernel lets go of a group some time after its last process. */
static bool remove_groups(void)
{
	int64_t until_us = monotonic_us() + REMOVE_DEADLINE_US;
	while (!cgroup_remove(&shim.spec)) {
		if (shim.end.survivors > 0 || monotonic_us() >= until_us) return false;
		poll(NULL, 0, 1);
	}
	return true;
}

/* Processes that could not be killed are collected, and their groups removed, whenever the kernel lets go of them. */
static void linger(void)
{
	bool removed = false, childless = false;
	for (int rounds = 0; !removed || !childless; rounds++) {
		while (waitpid(-1, NULL, WNOHANG) > 0) {}
		childless = waitid(P_ALL, 0, &(siginfo_t){ 0 }, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
		if (shim.spec.cgroup_count > 0) cgroup_kill(&shim.spec);
		removed = cgroup_remove(&shim.spec);
		if (removed && childless) return;
		if (rounds >= LINGER_ROUNDS_MAX && shim.end.survivors == 0) return;
		poll(NULL, 0, (int)(LINGER_EVERY_US / MS));
	}
}

void finish(void)
{
	stream_abandon(&shim.out);
	stream_abandon(&shim.err);
	stream_gaps(&shim.out, &shim.end);
	stream_gaps(&shim.err, &shim.end);
	shim.end.output_error = shim.out.error != 0 ? shim.out.error : shim.err.error;
	shim.end.stdout_bytes = shim.out.bytes;
	shim.end.stderr_bytes = shim.err.bytes;
	if (shim.failure.step != STEP_NONE) {
		shim.end.kind = "failedToStart";
		shim.end.failed_step = step_name(shim.failure.step);
		shim.end.error = shim.failure.error;
		shim.end.exit_code = shim.end.signal = -1;
		shim.end.started_ms = shim.end.duration_us = -1;
		shim.end.stopped = "";
	}
	bool removed = remove_groups();
	int64_t until_us = monotonic_us() + END_DEADLINE_US;
	while (record_end(&shim.end) != 0) {
		if (folder_is_gone() || monotonic_us() >= until_us) return;
		if (shim.control.offered_fd <= 0) shim.control.offered_fd = record_end_offer(&shim.end);
		tell(monotonic_us(), true);
		poll(NULL, 0, (int)(END_RETRY_US / MS));
	}
	fault_hit("end.renamed");
	shim.control.ended = true;
	tell(monotonic_us(), true);
	fault_hit("told");
	if (!removed || shim.end.survivors > 0) linger();
}

void fail_start(int step, int error)
{
	shim.failure = (struct child_failure){ step, error };
	shim.end.ended_ms = wall_ms();
	shim.out.pipe_fd = shim.err.pipe_fd = -1;
	finish();
}

/* The entries of the environment by which processes of this attempt are known. */
static struct tree_marker marker_of(const struct started_record *started)
{
	struct tree_marker marker = { { NULL, NULL, NULL }, started->pid, started->start_time };
	static const char *const names[3] = { "FLOPD_JOB_ID=", "FLOPD_EPOCH=", "FLOPD_NODE_ID=" };
	for (char **entry = shim.spec.envp; *entry != NULL; entry++)
		for (int i = 0; i < 3; i++)
			if (strncmp(*entry, names[i], strlen(names[i])) == 0) marker.entries[i] = *entry;
	return marker;
}

static int kill_left(const struct tree_marker *marker)
{
	cgroup_close(&shim.spec);
	int in_groups = shim.spec.cgroup_count > 0 ? cgroup_kill(&shim.spec) : 0;
	int found = tree_signal(SIGKILL, NULL, marker);
	return in_groups > found ? in_groups : found;
}

static uint64_t stored(const char *name)
{
	struct stat stat_of;
	return lstat(name, &stat_of) == 0 ? (uint64_t)stat_of.st_size : 0;
}

void bury_job(const struct started_record *started)
{
	struct tree_marker marker = marker_of(started);
	bool same_boot = strcmp(started->boot_id, shim.boot_id) == 0;
	int64_t deadline_us = monotonic_us() + SWEEP_DEADLINE_US;
	int alive = same_boot ? kill_left(&marker) : 0;
	while (alive > 0 && monotonic_us() < deadline_us) {
		poll(NULL, 0, (int)(SWEEP_EVERY_US / MS));
		alive = kill_left(&marker);
	}
	shim.end.survivors = alive;
	shim.end.user_us = shim.end.system_us = -1;
	if (same_boot) {
		counters_read(&shim.spec, &shim.end);
		cgroup_verify(&shim.spec, &shim.end);
	}
	after_run_all(&shim.spec, shim.folder);
	shim.end.kind = "lost";
	snprintf(shim.end.detail, sizeof shim.end.detail, "%s",
		same_boot ? "its shim was killed; what was left of the job was ended" : "the host was restarted");
	shim.end.started_ms = started->wall_ms;
	shim.end.duration_us = shim.end.max_rss_bytes = -1;
	shim.end.ended_ms = wall_ms();
	shim.out.pipe_fd = shim.err.pipe_fd = -1;
	shim.out.bytes = stored("stdout");
	shim.err.bytes = stored("stderr");
	finish();
}
