/*
 * One attempt, from its folder to its end record: the state machine that shim.c describes.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000LL
static const int64_t OUTPUT_EVENT_US = 10 * MS;
/* Nothing but the start of the program is done until it runs, for at most this time: on a busy machine each word to
 * the agent and each file would make it wait. */
static const int64_t QUIET_US = 20 * MS;
static const int64_t ANNOUNCE_RETRY_US = 5 * MS, ANNOUNCE_DEADLINE_US = 5000 * MS;
static const int64_t SWEEP_EVERY_US = 10 * MS;
static const int64_t SWEEP_DEADLINE_US = 30000 * MS;  /* processes in state D are reported after that */
static const int64_t DRAIN_DEADLINE_US = 2000 * MS;   /* someone outside the tree may hold the pipe */
static const int64_t DISK_DEADLINE_US = 60000 * MS;   /* how long the last output waits for a full disk */
static const int64_t END_RETRY_US = 200 * MS, END_DEADLINE_US = 3600000 * MS;
static const int64_t KILL_EVERY_US = 100 * MS;

static struct {
	enum { RUNNING, SWEEPING, DRAINING } phase;
	struct spec spec;
	struct control_state control;
	struct end_record end;
	struct stream out, err;
	int folder, signals, status, listener;
	pid_t main_pid;            /* 0 before the fork and after it was collected */
	bool main_ended, claimed_elsewhere, reserved;
	struct child_failure failure;
	int64_t started_us, next_output_us, quiet_until_us, announce_us, announce_until_us;
	int64_t time_limit_us, kill_us, sweep_us, phase_until_us, disk_until_us; /* 0 for none */
	const char *boot_id;
} shim;

static void take_rusage(const struct rusage *usage)
{
	shim.end.user_us += (int64_t)usage->ru_utime.tv_sec * 1000000 + usage->ru_utime.tv_usec;
	shim.end.system_us += (int64_t)usage->ru_stime.tv_sec * 1000000 + usage->ru_stime.tv_usec;
	/* The largest single process: peaks of different moments must not be added up. */
	int64_t resident = (int64_t)usage->ru_maxrss * 1024;
	if (resident > shim.end.max_rss_bytes) shim.end.max_rss_bytes = resident;
}

static void main_has_ended(int status, int64_t now_us)
{
	shim.main_ended = true;
	shim.main_pid = 0;
	shim.phase = SWEEPING;
	shim.sweep_us = now_us;
	shim.phase_until_us = now_us + SWEEP_DEADLINE_US;
	shim.time_limit_us = shim.kill_us = 0;
	shim.end.kind = WIFSIGNALED(status) ? "signalled" : "exited";
	if (WIFSIGNALED(status)) shim.end.signal = WTERMSIG(status);
	else shim.end.exit_code = WEXITSTATUS(status);
}

/* Collects the dead, any number. Returns true when no child is left at all. */
static bool reap(int64_t now_us)
{
	for (;;) {
		siginfo_t info = { 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
			if (errno == EINTR) continue;
			return true;
		}
		if (info.si_pid == 0) return false;
		if (info.si_pid == shim.main_pid) kill(-shim.main_pid, SIGKILL);
		int status;
		struct rusage usage;
		if (wait4(info.si_pid, &status, 0, &usage) != info.si_pid) continue;
		take_rusage(&usage);
		if (info.si_pid == shim.main_pid) main_has_ended(status, now_us);
	}
}

static void signal_tree(int sig)
{
	/* The group by one call, which no fork escapes; the rest one by one, so that nobody is asked twice. */
	if (shim.main_pid > 0 && kill(-shim.main_pid, sig) < 0) kill(shim.main_pid, sig); /* before its setsid */
	tree_signal(sig, shim.main_pid, NULL);
}

/* Asks the job to end. The first reason stays; a later, shorter grace counts. */
static void begin_stop(const char *reason, int64_t grace_ms, int64_t now_us)
{
	reap(now_us);
	if (shim.main_ended || shim.main_pid == 0) return;
	int64_t kill_us = now_us + grace_ms * MS;
	if (*shim.end.stopped == '\0') {
		shim.end.stopped = reason;
		shim.kill_us = kill_us;
		signal_tree(SIGTERM);
		signal_tree(SIGCONT);
	} else if (kill_us < shim.kill_us) shim.kill_us = kill_us;
}

static void take_command(struct command command, int64_t now_us)
{
	if (command.kind == COMMAND_STOP) begin_stop("stop", command.value > 86400000 ? 86400000 : command.value, now_us);
	if (command.kind == COMMAND_SIGNAL && shim.main_pid > 0) kill(-shim.main_pid, (int)command.value);
}

/* The program runs, or it could not be started: the pipe closes by exec, or carries the failure. */
static void read_status(void)
{
	struct child_failure failure;
	ssize_t n = read(shim.status, &failure, sizeof failure);
	if (n < 0 && errno == EINTR) return;
	if (n == (ssize_t)sizeof failure) {
		shim.failure = failure;
		shim.claimed_elsewhere = failure.step == STEP_CLAIM;
	} else {
		shim.control.started = true;
		shim.control.started_ms = shim.end.started_ms;
	}
	close(shim.status);
	shim.status = -1;
	shim.quiet_until_us = 0;
	if (shim.announce_us > 0) shim.announce_us = 1;
}

static void announce(int64_t now_us)
{
	if (shim.announce_us == 0 || now_us < shim.announce_us) return;
	int error = control_announce(shim.spec.announce);
	shim.announce_us = error == EAGAIN && now_us < shim.announce_until_us ? now_us + ANNOUNCE_RETRY_US : 0;
}

static void tell(int64_t now_us, bool at_once)
{
	struct control_state *control = &shim.control;
	bool grew = control->stdout_bytes != shim.out.bytes || control->stderr_bytes != shim.err.bytes;
	if (grew && (at_once || now_us >= shim.next_output_us)) {
		control->stdout_bytes = shim.out.bytes;
		control->stderr_bytes = shim.err.bytes;
		shim.next_output_us = now_us + OUTPUT_EVENT_US;
	}
	control_send(control);
}

static void reserve_end(int64_t now_us)
{
	if (shim.reserved || now_us < shim.quiet_until_us) return;
	shim.reserved = true;
	record_reserve_end();
}

static void sooner(int64_t *until_us, int64_t at_us)
{
	if (at_us > 0 && (*until_us == 0 || at_us < *until_us)) *until_us = at_us;
}

static int wait_ms(int64_t now_us)
{
	int64_t until_us = 0;
	sooner(&until_us, shim.time_limit_us);
	sooner(&until_us, shim.kill_us);
	sooner(&until_us, shim.phase_until_us);
	sooner(&until_us, shim.announce_us);
	if (!shim.reserved) sooner(&until_us, shim.quiet_until_us);
	sooner(&until_us, shim.out.retry_us);
	sooner(&until_us, shim.err.retry_us);
	if (shim.phase == SWEEPING) sooner(&until_us, shim.sweep_us);
	if (shim.control.stdout_bytes != shim.out.bytes || shim.control.stderr_bytes != shim.err.bytes)
		sooner(&until_us, shim.next_output_us);
	if (until_us == 0) return -1;
	if (until_us <= now_us) return 0;
	int64_t ms = (until_us - now_us + 999) / 1000;
	return ms > 3600000 ? 3600000 : (int)ms;
}

enum { WAIT_SIGNALS, WAIT_STATUS, WAIT_OUT, WAIT_ERR, WAIT_LISTENER, WAIT_CLIENTS };

static void wait_for_something(int64_t now_us)
{
	struct pollfd fds[WAIT_CLIENTS + CLIENTS_MAX] = {
		[WAIT_SIGNALS] = { shim.signals, POLLIN, 0 },
		[WAIT_STATUS] = { shim.status, POLLIN, 0 },
		[WAIT_OUT] = { shim.out.retry_us == 0 ? shim.out.pipe_fd : -1, POLLIN, 0 },
		[WAIT_ERR] = { shim.err.retry_us == 0 ? shim.err.pipe_fd : -1, POLLIN, 0 },
		[WAIT_LISTENER] = { shim.listener, POLLIN, 0 },
	};
	for (int i = 0; i < CLIENTS_MAX; i++) fds[WAIT_CLIENTS + i].fd = control_poll(i, &fds[WAIT_CLIENTS + i].events);
	if (poll(fds, WAIT_CLIENTS + CLIENTS_MAX, wait_ms(now_us)) < 0) return;
	now_us = monotonic_us();
	if (fds[WAIT_SIGNALS].revents) {
		struct signalfd_siginfo info[8];
		while (read(shim.signals, info, sizeof info) == (ssize_t)sizeof info) {}
	}
	if (fds[WAIT_STATUS].revents) read_status();
	bool first = shim.out.bytes + shim.err.bytes == 0, grew = false;
	if (fds[WAIT_OUT].revents) grew |= stream_pump(&shim.out, 0, now_us);
	if (fds[WAIT_ERR].revents) grew |= stream_pump(&shim.err, 1, now_us);
	if (first && grew) shim.next_output_us = now_us;
	if (fds[WAIT_LISTENER].revents) control_accept(shim.listener);
	for (int i = 0; i < CLIENTS_MAX; i++)
		for (struct command command; fds[WAIT_CLIENTS + i].revents != 0;) {
			command = control_take(i, fds[WAIT_CLIENTS + i].revents);
			if (command.kind == COMMAND_NONE) break;
			take_command(command, now_us);
		}
}

static void keep_deadlines(int64_t now_us)
{
	if (shim.time_limit_us > 0 && now_us >= shim.time_limit_us) {
		shim.time_limit_us = 0;
		begin_stop("timeLimit", shim.spec.grace_ms, now_us);
	}
	if (shim.kill_us > 0 && now_us >= shim.kill_us) {
		shim.end.killed = true;
		if (shim.phase_until_us == 0) shim.phase_until_us = now_us + SWEEP_DEADLINE_US;
		shim.kill_us = now_us + KILL_EVERY_US;
		signal_tree(SIGKILL);
	}
	if (shim.out.retry_us > 0 && now_us >= shim.out.retry_us) stream_retry(&shim.out, 0, now_us);
	if (shim.err.retry_us > 0 && now_us >= shim.err.retry_us) stream_retry(&shim.err, 1, now_us);
	announce(now_us);
}

static void begin_draining(int64_t now_us)
{
	shim.phase = DRAINING;
	shim.end.duration_us = now_us - shim.started_us;
	shim.end.ended_ms = wall_ms();
	shim.phase_until_us = now_us + DRAIN_DEADLINE_US;
	shim.disk_until_us = now_us + DISK_DEADLINE_US;
}

/* Moves through the phases. Returns true when the end can be recorded. */
static bool advance(int64_t now_us)
{
	bool childless = reap(now_us);
	if (shim.phase == RUNNING && shim.phase_until_us > 0 && now_us >= shim.phase_until_us) {
		shim.end.kind = "lost";
		shim.end.detail = "its main process did not end after SIGKILL (it waits inside the kernel)";
		shim.end.survivors = tree_signal(SIGKILL, 0, NULL);
		begin_draining(now_us);
	}
	if (shim.phase == SWEEPING) {
		if (childless) begin_draining(now_us);
		else if (now_us >= shim.phase_until_us) {
			shim.end.survivors = tree_signal(SIGKILL, 0, NULL);
			begin_draining(now_us);
		} else if (now_us >= shim.sweep_us) {
			tree_signal(SIGKILL, 0, NULL);
			shim.sweep_us = now_us + SWEEP_EVERY_US;
		}
	}
	if (shim.phase != DRAINING) return false;
	bool waiting = shim.out.retry_us > 0 || shim.err.retry_us > 0;
	if (shim.out.pipe_fd < 0 && shim.err.pipe_fd < 0 && !waiting) return true;
	if (now_us < shim.phase_until_us) return false;
	if (!waiting) return true;
	shim.phase_until_us = shim.disk_until_us;
	return now_us >= shim.disk_until_us;
}

static bool folder_is_gone(void)
{
	struct stat stat_of;
	return fstat(shim.folder, &stat_of) == 0 && stat_of.st_nlink == 0;
}

/* The last act. A disk that refuses the record is asked again; a folder that was removed has nobody who waits. */
static void finish(void)
{
	shim.end.lost_output_bytes = stream_abandon(&shim.out) + stream_abandon(&shim.err);
	shim.end.output_error = shim.out.error != 0 ? shim.out.error : shim.err.error;
	shim.end.stdout_bytes = shim.out.bytes;
	shim.end.stderr_bytes = shim.err.bytes;
	if (shim.failure.step != STEP_NONE) {
		shim.end.kind = "failedToStart";
		shim.end.failed_step = child_step_name(shim.failure.step);
		shim.end.error = shim.failure.error;
		shim.end.exit_code = shim.end.signal = -1;
		shim.end.started_ms = shim.end.duration_us = -1;
		shim.end.stopped = "";
	}
	int64_t until_us = monotonic_us() + END_DEADLINE_US;
	while (record_end(&shim.end) != 0) {
		if (folder_is_gone() || monotonic_us() >= until_us) return;
		tell(monotonic_us(), true);
		poll(NULL, 0, (int)(END_RETRY_US / MS));
	}
	shim.control.ended = true;
	tell(monotonic_us(), true);
}

static void fail_start(int step, int error)
{
	shim.failure = (struct child_failure){ step, error };
	shim.end.ended_ms = wall_ms();
	shim.out.pipe_fd = shim.err.pipe_fd = -1;
	finish();
}

static void run_job(void)
{
	int out[2], err[2], status[2];
	shim.listener = control_listen();
	if (shim.listener < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0) {
		fail_start(STEP_SETUP, errno);
		return;
	}
	shim.started_us = monotonic_us();
	shim.end.started_ms = wall_ms();
	struct child_place place = { shim.folder, shim.boot_id, shim.end.started_ms, out[1], err[1], status[1] };
	shim.main_pid = child_start(&shim.spec, &place);
	int fork_error = errno;
	close(out[1]);
	close(err[1]);
	close(status[1]);
	if (shim.main_pid < 0) {
		shim.main_pid = 0;
		fail_start(STEP_FORK, fork_error);
		return;
	}
	shim.control.pid = shim.main_pid; /* stays known when the program has ended before its start is told */
	shim.status = status[0];
	stream_open(&shim.out, "stdout", out[0]);
	stream_open(&shim.err, "stderr", err[0]);
	if (shim.spec.time_limit_ms >= 0) shim.time_limit_us = shim.started_us + shim.spec.time_limit_ms * MS;
	shim.quiet_until_us = shim.started_us + QUIET_US;
	if (shim.announce_us > 0) shim.announce_us = shim.quiet_until_us;
	int64_t now_us = monotonic_us();
	while (!advance(now_us) || shim.status >= 0) {
		tell(now_us, false);
		reserve_end(now_us);
		wait_for_something(now_us);
		now_us = monotonic_us();
		keep_deadlines(now_us);
	}
	if (!shim.claimed_elsewhere) finish();
}

/* An earlier shim died: ends what is left of its job, without ever touching a process that is not of it. */
static void bury_job(const struct started_record *started)
{
	struct tree_marker marker = { { NULL, NULL, NULL }, started->pid, started->start_time };
	static const char *const names[3] = { "FLOPD_JOB_ID=", "FLOPD_EPOCH=", "FLOPD_NODE_ID=" };
	for (char **entry = shim.spec.envp; *entry != NULL; entry++)
		for (int i = 0; i < 3; i++)
			if (strncmp(*entry, names[i], strlen(names[i])) == 0) marker.entries[i] = *entry;
	bool same_boot = strcmp(started->boot_id, shim.boot_id) == 0;
	int64_t deadline_us = monotonic_us() + SWEEP_DEADLINE_US;
	int alive = same_boot ? tree_signal(SIGKILL, 0, &marker) : 0;
	while (alive > 0 && monotonic_us() < deadline_us) {
		poll(NULL, 0, (int)(SWEEP_EVERY_US / MS));
		alive = tree_signal(SIGKILL, 0, &marker);
	}
	shim.end.survivors = alive;
	struct stat stat_of;
	shim.out.bytes = lstat("stdout", &stat_of) == 0 ? (uint64_t)stat_of.st_size : 0;
	shim.err.bytes = lstat("stderr", &stat_of) == 0 ? (uint64_t)stat_of.st_size : 0;
	shim.end.kind = "lost";
	shim.end.detail = same_boot ? "its shim was killed; what was left of the job was ended" : "the host was restarted";
	shim.end.started_ms = started->wall_ms;
	shim.end.duration_us = shim.end.user_us = shim.end.system_us = shim.end.max_rss_bytes = -1;
	shim.end.ended_ms = wall_ms();
	shim.out.pipe_fd = shim.err.pipe_fd = -1;
	finish();
}

/* Deaf to strangers: of the signals that can be refused only SIGCHLD means something here. */
static int shut_ears(void)
{
	/* Blocked, not ignored: a SIGTERM that meets the job's process before its exec then waits for it there. */
	sigset_t set;
	sigfillset(&set);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0) return -1;
	signal(SIGCHLD, SIG_DFL); /* an inherited SIG_IGN would reap behind our back */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int attempt_run(const char *folder, const char *boot_id)
{
	shim.boot_id = boot_id;
	setsid();
	umask(077);
	shim.folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (shim.folder < 0 || fchdir(shim.folder) < 0) return EXIT_FOLDER;
	if (flock(shim.folder, LOCK_EX | LOCK_NB) < 0) return errno == EWOULDBLOCK ? EXIT_HELD : EXIT_FOLDER;

	shim.signals = shut_ears();
	shim.status = shim.listener = shim.out.pipe_fd = shim.err.pipe_fd = -1;
	shim.out.file_fd = shim.err.file_fd = -1;
	shim.end = (struct end_record){ .kind = "lost", .exit_code = -1, .signal = -1, .stopped = "", .failed_step = "",
		.started_ms = -1, .duration_us = -1, .detail = "" };
	int error = spec_read(&shim.spec);
	if (error != 0) return EXIT_FOLDER;
	shim.control.name = shim.spec.name;
	shim.announce_us = *shim.spec.announce == '\0' ? 0 : 1;
	shim.announce_until_us = monotonic_us() + ANNOUNCE_DEADLINE_US;

	struct started_record started;
	if (access("end", F_OK) == 0) {
		announce(monotonic_us());
		shim.control.ended = true;
		tell(monotonic_us(), true);
		return 0;
	}
	if (shim.signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		announce(monotonic_us());
		fail_start(STEP_SETUP, errno);
		return 0;
	}
	error = record_read_started(&started);
	if (error == ENOENT) run_job();
	else {
		announce(monotonic_us());
		if (error != 0 || !started.complete) fail_start(STEP_CLAIM, 0);
		else bury_job(&started);
	}
	return 0;
}
