/*
 * The job's main process: its own process, or inside a sandbox the child of init.c, which speaks for it.
 * INVARIANT: a process group is signalled only while its leader has not been collected: by reap() here, or by init,
 * which waits for us to close the channel.
 */
#include "attempt.h"

#include "fault-points.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void take_rusage(const struct rusage *usage)
{
	shim.end.user_us += (int64_t)usage->ru_utime.tv_sec * 1000000 + usage->ru_utime.tv_usec;
	shim.end.system_us += (int64_t)usage->ru_stime.tv_sec * 1000000 + usage->ru_stime.tv_usec;
	/* The largest single process: peaks of different moments must not be added up. */
	int64_t resident = (int64_t)usage->ru_maxrss * 1024;
	if (resident > shim.end.max_rss_bytes) shim.end.max_rss_bytes = resident;
}

static bool in_sandbox(void)
{
	return shim.spec.wrap != NULL;
}

static void main_has_ended(int status, int64_t now_us)
{
	if (shim.main_ended) return;
	fault_hit("exit.seen");
	shim.main_ended = true;
	shim.main_pid = 0;
	shim.phase = SWEEPING;
	/* The sandbox ends by itself: looking for its processes is for those that do not. */
	shim.sweep_every_us = SWEEP_EVERY_US;
	shim.sweep_us = in_sandbox() ? now_us + SWEEP_EVERY_US : now_us;
	shim.phase_until_us = now_us + SWEEP_DEADLINE_US;
	if (shim.spec.beside != NULL) shim.sweep_us = shim.phase_until_us = 0; /* not before the commands after it */
	shim.end.duration_us = now_us - shim.started_us;
	shim.time_limit_us = shim.checkpoint_us = shim.lease_us = shim.kill_us = 0;
	shim.end.kind = WIFSIGNALED(status) ? "signalled" : "exited";
	if (WIFSIGNALED(status)) shim.end.signal = WTERMSIG(status);
	else shim.end.exit_code = WEXITSTATUS(status);
}

static void close_channel(void)
{
	if (shim.channel >= 0) close(shim.channel);
	shim.channel = -1;
}

/* What the sandbox program said on its standard error, as one line. */
static void read_words(void)
{
	ssize_t n = read(shim.words, shim.end.detail, sizeof shim.end.detail - 1);
	if (n < 0) n = 0;
	while (n > 0 && shim.end.detail[n - 1] == '\n') n--;
	shim.end.detail[n] = '\0';
	for (char *at = shim.end.detail; *at != '\0'; at++)
		if ((unsigned char)*at < ' ') *at = ' ';
}

/* The sandbox program has ended, and nobody inside told of the job's own end. */
static void sandbox_has_ended(int status, int64_t now_us)
{
	read_channel(now_us);
	if (shim.main_ended) return;
	if (!shim.running && shim.failure.step == STEP_NONE && *shim.end.stopped == '\0' && shim.main_pid == 0) {
		shim.failure = (struct child_failure){ STEP_SANDBOX, 0 };
		read_words();
	}
	/* Its first process was killed, and all of it with it: a sandbox program tells signals as 128 and their number. */
	if (WIFEXITED(status) && WEXITSTATUS(status) > 128) status = WEXITSTATUS(status) - 128;
	main_has_ended(status, now_us);
	close_channel();
}

bool reap(int64_t now_us)
{
	for (;;) {
		siginfo_t info = { 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
			if (errno == EINTR) continue;
			return true;
		}
		if (info.si_pid == 0) return false;
		bool is_child = info.si_pid == shim.child;
		if ((is_child && !in_sandbox()) || info.si_pid == shim.after_pid) kill(-info.si_pid, SIGKILL);
		int status;
		struct rusage usage;
		if (wait4(info.si_pid, &status, 0, &usage) != info.si_pid) continue;
		if (info.si_pid == shim.after_pid) {
			shim.after_pid = 0;
			continue;
		}
		enter_forget(info.si_pid);
		take_rusage(&usage);
		if (!is_child) continue;
		shim.child = 0;
		if (in_sandbox()) sandbox_has_ended(status, now_us);
		else main_has_ended(status, now_us);
	}
}

/* The group by one call, which no fork escapes; the rest one by one, so that nobody is asked twice. */
static void signal_tree(int sig, bool spare_init)
{
	if (shim.main_pid > 0 && kill(-shim.main_pid, sig) < 0) kill(shim.main_pid, sig); /* before its setsid */
	struct tree_spared spared = { .group = shim.main_pid };
	/* The sandbox program is never signalled while there is a job in it: its end would be taken for the job's. */
	if (in_sandbox() && shim.main_pid > 0) spared.pids[0] = shim.child;
	if (spare_init) spared.pids[1] = shim.init_pid;
	/* A client passes on what asks the job to end; killing spares nobody. */
	if (shim.spec.beside == NULL || sig == SIGKILL) tree_signal(sig, &spared, NULL);
}

static void ask_to_end(void)
{
	signal_tree(SIGTERM, true);
	if (shim.main_pid > 0) kill(-shim.main_pid, SIGCONT); /* the rest gets it with the other */
}

void begin_stop(const char *reason, int64_t grace_ms, int64_t now_us)
{
	reap(now_us);
	if (shim.main_ended || !shim.forked) return;
	int64_t kill_us = now_us + grace_ms * MS;
	if (*shim.end.stopped == '\0') {
		shim.end.stopped = reason;
		shim.kill_us = kill_us;
		if (shim.main_pid > 0) ask_to_end(); /* else when it is known */
	} else if (kill_us < shim.kill_us) shim.kill_us = kill_us;
}

void kill_job(void)
{
	/* At first only what is inside, so that init can tell how the job ended; then init, which ends all with it. */
	if (!in_sandbox()) cgroup_kill(&shim.spec);
	signal_tree(SIGKILL, shim.kills++ == 0);
}

int sweep(void)
{
	cgroup_close(&shim.spec);
	int found = shim.spec.cgroup_count > 0 ? cgroup_kill(&shim.spec) : 0;
	int in_tree = tree_signal(SIGKILL, NULL, NULL);
	return found > in_tree ? found : in_tree;
}

void program_runs(void)
{
	if (shim.running) return;
	fault_hit("running");
	shim.running = true;
	shim.control.started = true;
	shim.control.started_ms = shim.end.started_ms;
}

/* The last process that could have told something has closed the channel. */
static void channel_has_ended(void)
{
	close_channel();
	if (!in_sandbox() && shim.failure.step == STEP_NONE) program_runs();
}

static void take_message(const struct message *message, pid_t sender, int64_t now_us)
{
	switch (message->kind) {
	case MESSAGE_FAILED:
		shim.failure = message->failure;
		shim.claimed_elsewhere = message->failure.step == STEP_CLAIM;
		break;
	case MESSAGE_REFUSED:
		record_refusal(&shim.end, message->what, message->failure.error);
		break;
	case MESSAGE_INIT:
		shim.init_pid = sender;
		fault_hit("user.set");
		break;
	case MESSAGE_JOB:
		shim.main_pid = shim.control.pid = sender;
		if (*shim.end.stopped != '\0') ask_to_end();
		break;
	case MESSAGE_RUNNING:
		program_runs();
		break;
	case MESSAGE_ENDED:
		if (shim.main_pid > 0) kill(-shim.main_pid, SIGKILL);
		main_has_ended(message->status, now_us);
		close_channel(); /* init has waited for this */
		break;
	}
}

void read_channel(int64_t now_us)
{
	struct message message;
	pid_t sender;
	bool was_running = shim.running;
	while (shim.channel >= 0) {
		int taken = channel_take(shim.channel, &message, &sender);
		if (taken < 0) break;
		if (taken > 0) take_message(&message, sender, now_us);
		else channel_has_ended();
	}
	if (was_running || (shim.channel >= 0 && !shim.running)) return;
	shim.quiet_until_us = 0; /* it runs or never will: nothing waits any more */
	if (shim.announce_us > 0) shim.announce_us = 1;
}
