/*
 * One attempt, from its folder to its end record: the state machine that shim.c describes.
 */
#include "attempt.h"

#include "fault-points.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t OUTPUT_EVENT_US = 10 * MS;
/* Nothing but the start of the program is done until it runs, for at most this time: on a busy machine each word to
 * the agent and each file would make it wait. */
static const int64_t QUIET_US = 20 * MS;
static const int64_t ANNOUNCE_RETRY_US = 5 * MS, ANNOUNCE_DEADLINE_US = 5000 * MS;
static const int64_t DRAIN_DEADLINE_US = 2000 * MS;   /* someone outside the tree may hold the pipe */
static const int64_t DISK_DEADLINE_US = 60000 * MS;   /* how long the last output waits for a full disk */
static const int64_t KILL_EVERY_US = 100 * MS;
static const int64_t CHECKPOINT_RETRY_US = 10 * MS;
static const int64_t OOM_LOOK_US = 1000 * MS;         /* where the kernel does not wake us */
static const int64_t LIMIT_MS_MAX = 366LL * 24 * 3600 * 1000;

struct attempt shim;

static void take_command(const struct command *command, int64_t now_us)
{
	int64_t ms = command->value > LIMIT_MS_MAX ? LIMIT_MS_MAX : command->value;
	switch (command->kind) {
	case COMMAND_NONE:
		break;
	case COMMAND_STOP:
		begin_stop("stop", ms, now_us);
		break;
	case COMMAND_SIGNAL:
		if (shim.main_pid > 0) kill(-shim.main_pid, (int)ms);
		break;
	case COMMAND_LEASE:
		if (!shim.main_ended) shim.lease_us = now_us + ms * MS;
		break;
	case COMMAND_ENTER:
		enter_start(&shim.spec, command->name, shim.running && !shim.main_ended ? shim.main_pid : 0);
		break;
	}
}

static void announce(int64_t now_us)
{
	if (shim.announce_us == 0 || now_us < shim.announce_us) return;
	int error = control_announce(shim.spec.announce);
	shim.announce_us = error == EAGAIN && now_us < shim.announce_until_us ? now_us + ANNOUNCE_RETRY_US : 0;
}

void tell(int64_t now_us, bool at_once)
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
	sooner(&until_us, shim.checkpoint_us);
	sooner(&until_us, shim.lease_us);
	sooner(&until_us, shim.kill_us);
	sooner(&until_us, shim.oom_us);
	sooner(&until_us, shim.phase_until_us);
	if (shim.after_pid > 0) sooner(&until_us, after_deadline_us());
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

enum { WAIT_SIGNALS, WAIT_CHANNEL, WAIT_OUT, WAIT_ERR, WAIT_LISTENER, WAIT_OOM, WAIT_CLIENTS };

static void look_for_oom(int64_t now_us)
{
	char bytes[4096];
	while (shim.oom >= 0 && read(shim.oom, bytes, sizeof bytes) > 0) {}
	counters_read_oom(&shim.spec, &shim.end);
	if (shim.oom_us > 0) shim.oom_us = now_us + OOM_LOOK_US;
}

static void wait_for_something(int64_t now_us)
{
	struct pollfd fds[WAIT_CLIENTS + CLIENTS_MAX] = {
		[WAIT_SIGNALS] = { shim.signals, POLLIN, 0 },
		[WAIT_CHANNEL] = { shim.channel, POLLIN, 0 },
		[WAIT_OUT] = { shim.out.retry_us == 0 ? shim.out.pipe_fd : -1, POLLIN, 0 },
		[WAIT_ERR] = { shim.err.retry_us == 0 ? shim.err.pipe_fd : -1, POLLIN, 0 },
		[WAIT_LISTENER] = { shim.listener, POLLIN, 0 },
		[WAIT_OOM] = { shim.oom, POLLIN, 0 },
	};
	for (int i = 0; i < CLIENTS_MAX; i++) fds[WAIT_CLIENTS + i].fd = control_poll(i, &fds[WAIT_CLIENTS + i].events);
	if (poll(fds, WAIT_CLIENTS + CLIENTS_MAX, wait_ms(now_us)) < 0) return;
	now_us = monotonic_us();
	if (fds[WAIT_SIGNALS].revents) {
		struct signalfd_siginfo info[8];
		while (read(shim.signals, info, sizeof info) == (ssize_t)sizeof info) {}
	}
	if (fds[WAIT_CHANNEL].revents) read_channel(now_us);
	if (fds[WAIT_OOM].revents) look_for_oom(now_us);
	bool first = shim.out.bytes + shim.err.bytes == 0, grew = false;
	if (fds[WAIT_OUT].revents) grew |= stream_pump(&shim.out, 0, now_us);
	if (fds[WAIT_ERR].revents) grew |= stream_pump(&shim.err, 1, now_us);
	if (grew) program_runs();
	if (first && grew) {
		shim.next_output_us = now_us;
		fault_hit("output.first");
	}
	if (fds[WAIT_LISTENER].revents) control_accept(shim.listener);
	for (int i = 0; i < CLIENTS_MAX; i++)
		for (struct command command; fds[WAIT_CLIENTS + i].revents != 0;) {
			command = control_take(i, fds[WAIT_CLIENTS + i].revents);
			if (command.kind == COMMAND_NONE) break;
			take_command(&command, now_us);
		}
}

static bool has_come(int64_t *deadline_us, int64_t now_us)
{
	if (*deadline_us == 0 || now_us < *deadline_us) return false;
	*deadline_us = 0;
	return true;
}

static void keep_deadlines(int64_t now_us)
{
	if (has_come(&shim.checkpoint_us, now_us) && *shim.end.stopped == '\0') {
		/* On its way to the program the signal would end it. */
		if (!shim.running) shim.checkpoint_us = now_us + CHECKPOINT_RETRY_US;
		else if (shim.main_pid > 0 && kill(shim.main_pid, shim.spec.checkpoint_signal) == 0) shim.end.checkpoint_ms = wall_ms();
	}
	if (has_come(&shim.time_limit_us, now_us)) begin_stop("timeLimit", shim.spec.grace_ms, now_us);
	if (has_come(&shim.lease_us, now_us)) begin_stop("lease", shim.spec.grace_ms, now_us);
	if (has_come(&shim.kill_us, now_us)) {
		shim.end.killed = true;
		if (shim.phase_until_us == 0) shim.phase_until_us = now_us + SWEEP_DEADLINE_US;
		shim.kill_us = now_us + KILL_EVERY_US;
		kill_job();
	}
	if (has_come(&shim.oom_us, now_us)) {
		shim.oom_us = now_us;
		look_for_oom(now_us);
	}
	if (shim.after_pid > 0 && now_us >= after_deadline_us()) kill(-shim.after_pid, SIGKILL);
	if (shim.out.retry_us > 0 && now_us >= shim.out.retry_us) stream_retry(&shim.out, 0, now_us);
	if (shim.err.retry_us > 0 && now_us >= shim.err.retry_us) stream_retry(&shim.err, 1, now_us);
	announce(now_us);
}

static void begin_draining(int64_t now_us)
{
	fault_hit("tree.empty");
	shim.phase = DRAINING;
	if (shim.spec.beside == NULL) shim.end.duration_us = now_us - shim.started_us;
	shim.end.ended_ms = wall_ms();
	shim.oom_us = 0;
	counters_read(&shim.spec, &shim.end);
	cgroup_verify(&shim.spec, &shim.end);
	shim.phase_until_us = now_us + DRAIN_DEADLINE_US;
	shim.disk_until_us = now_us + DISK_DEADLINE_US;
}

static void leave_survivors(int64_t now_us)
{
	shim.end.survivors = sweep();
	begin_draining(now_us);
}

static void advance_sweeping(bool childless, int64_t now_us)
{
	if (childless) begin_draining(now_us);
	else if (now_us >= shim.phase_until_us) leave_survivors(now_us);
	else if (now_us >= shim.sweep_us) {
		sweep();
		shim.sweep_us = now_us + shim.sweep_every_us;
		if (shim.sweep_every_us < SWEEP_SELDOM_US) shim.sweep_every_us *= 2; /* what is left waits in the kernel */
	}
}

/* True when all output is on disk, or will never be. */
static bool has_drained(int64_t now_us)
{
	bool late = now_us >= shim.phase_until_us;
	if (late) { /* someone outside the tree holds a pipe */
		if (shim.out.retry_us == 0) stream_finish(&shim.out, 0, now_us);
		if (shim.err.retry_us == 0) stream_finish(&shim.err, 1, now_us);
	}
	bool waiting = shim.out.retry_us > 0 || shim.err.retry_us > 0;
	if (!waiting) return shim.out.pipe_fd < 0 && shim.err.pipe_fd < 0;
	if (!late) return false;
	shim.phase_until_us = shim.disk_until_us;
	return now_us >= shim.disk_until_us;
}

/* The commands that come after the job, one by one. Returns true when the last of them has ended. */
static bool run_afterwards(int64_t now_us)
{
	if (shim.after_pid > 0) return false;
	shim.after_pid = after_start(&shim.spec, shim.folder, now_us);
	return shim.after_pid == 0;
}

/* Of a client these end the job, so they come before its tree is swept. */
static bool has_left(int64_t now_us)
{
	if (shim.spec.beside == NULL || shim.phase_until_us > 0) return true;
	if (!run_afterwards(now_us)) return false;
	shim.sweep_us = now_us;
	shim.phase_until_us = now_us + SWEEP_DEADLINE_US;
	return true;
}

/* Moves through the phases. Returns true when the end can be recorded. */
static bool advance(int64_t now_us)
{
	bool childless = reap(now_us);
	if (shim.phase == RUNNING && shim.phase_until_us > 0 && now_us >= shim.phase_until_us) {
		shim.end.kind = "lost";
		snprintf(shim.end.detail, sizeof shim.end.detail,
			"its main process did not end after SIGKILL (it waits inside the kernel)");
		shim.main_ended = true;
		shim.time_limit_us = shim.checkpoint_us = shim.lease_us = shim.kill_us = 0;
		leave_survivors(now_us);
	}
	if (shim.phase == SWEEPING && has_left(now_us)) advance_sweeping(childless, now_us);
	if (shim.phase == DRAINING && has_drained(now_us)) {
		shim.phase = AFTERWARDS;
		shim.phase_until_us = 0;
	}
	return shim.phase == AFTERWARDS && run_afterwards(now_us);
}

static void close_both(const int *ends)
{
	close(ends[0]);
	close(ends[1]);
}

/* Forks the job, with its pipes. Returns 0, or what failed. */
static struct child_failure fork_job(void)
{
	int out[2], err[2], words[2] = { -1, -1 }, channel[2];
	struct child_place place = { .folder = shim.folder, .boot_id = shim.boot_id, .wall_ms = shim.end.started_ms,
		.spec_fd = -1, .exe_fd = -1 };
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || channel_open(channel) < 0)
		return (struct child_failure){ STEP_SETUP, errno };
	if (shim.spec.wrap != NULL) {
		place.spec_fd = open("spec", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		place.exe_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
		if (place.spec_fd < 0 || place.exe_fd < 0 || pipe2(words, O_CLOEXEC | O_NONBLOCK) < 0)
			return (struct child_failure){ STEP_SETUP, errno };
	}
	place.out_fd = out[1];
	place.err_fd = err[1];
	place.words_fd = words[1];
	place.channel_fd = channel[1];
	shim.child = child_start(&shim.spec, &place);
	int error = errno;
	close(out[1]);
	close(err[1]);
	close(channel[1]);
	if (shim.spec.wrap != NULL) {
		close(words[1]);
		close(place.spec_fd);
		close(place.exe_fd);
	}
	shim.words = words[0];
	shim.channel = channel[0];
	stream_open(&shim.out, "stdout", out[0], shim.spec.quota_bytes);
	stream_open(&shim.err, "stderr", err[0], shim.spec.quota_bytes);
	if (shim.child > 0) return (struct child_failure){ STEP_NONE, 0 };
	close_both((int[]){ out[0], err[0] });
	shim.child = 0;
	return (struct child_failure){ STEP_FORK, error };
}

static void set_deadlines(void)
{
	const struct spec *spec = &shim.spec;
	shim.quiet_until_us = shim.started_us + QUIET_US;
	if (shim.announce_us > 0) shim.announce_us = shim.quiet_until_us;
	if (spec->time_limit_ms >= 0) shim.time_limit_us = shim.started_us + spec->time_limit_ms * MS;
	if (shim.time_limit_us > 0 && spec->checkpoint_before_ms >= 0 && spec->checkpoint_before_ms < spec->time_limit_ms)
		shim.checkpoint_us = shim.time_limit_us - spec->checkpoint_before_ms * MS;
	if (spec->lease_ms >= 0) shim.lease_us = shim.started_us + spec->lease_ms * MS;
	if (!counters_can_oom(spec)) return;
	shim.end.oom_kills = 0;
	shim.oom = counters_watch(spec);
	if (shim.oom < 0) shim.oom_us = shim.started_us + OOM_LOOK_US;
}

static void run_job(void)
{
	shim.listener = control_listen();
	if (shim.listener < 0) {
		fail_start(STEP_SETUP, errno);
		return;
	}
	cgroup_make(&shim.spec, &shim.end);
	fault_hit("cgroup.made");
	shim.started_us = monotonic_us();
	shim.end.started_ms = wall_ms();
	struct child_failure failure = fork_job();
	if (failure.step != STEP_NONE) {
		fail_start(failure.step, failure.error);
		return;
	}
	shim.forked = true;
	tree_follow(&shim.spec, shim.child);
	if (shim.spec.wrap == NULL) {
		shim.main_pid = shim.control.pid = shim.child; /* the latter stays known when it has ended before its start is told */
		fault_hit("user.set");
	}
	set_deadlines();
	int64_t now_us = monotonic_us();
	while (!advance(now_us) || shim.channel >= 0) {
		tell(now_us, false);
		reserve_end(now_us);
		wait_for_something(now_us);
		now_us = monotonic_us();
		keep_deadlines(now_us);
	}
	if (shim.claimed_elsewhere) cgroup_remove(&shim.spec); /* the attempt was given up: only the groups are ours */
	else finish();
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
	shim.channel = shim.words = shim.oom = shim.listener = shim.out.pipe_fd = shim.err.pipe_fd = -1;
	shim.out.file_fd = shim.err.file_fd = -1;
	shim.end = (struct end_record){ .kind = "lost", .exit_code = -1, .signal = -1, .stopped = "", .failed_step = "",
		.started_ms = -1, .duration_us = -1, .memory_peak_bytes = -1, .processes_peak = -1, .oom_kills = -1,
		.oom_ms = -1, .checkpoint_ms = -1 };
	int spec = open("spec", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (spec < 0 || spec_read(&shim.spec, spec) != 0) return EXIT_FOLDER;
	close(spec);
	fault_arm();
	fault_hit("spec.read");
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
	leave_keyring();
	int error = record_read_started(&started);
	if (error == ENOENT) run_job();
	else {
		announce(monotonic_us());
		if (error != 0 || !started.complete) fail_start(STEP_CLAIM, 0);
		else bury_job(&started);
	}
	return 0;
}
