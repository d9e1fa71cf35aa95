/*
 * flopd-contained --beside FOLDER CWD ENVC env… argv…: a command beside the program, in its container (beside.c).
 * flopd-contained FOLDER: the first process of a container job. The container's runtime starts it instead of the
 * program (src/job/executor/container.ts); FOLDER is the job's own, mounted from the host. It runs the program as the
 * job's user and tells how that ended as the kernel tells it: runtimes fold signals into exit codes and cannot say
 * why a program did not start.
 *
 *   order    written by the agent: NUL-terminated strings "flopd-contained" "1" cwd uid gid (both empty: as it is)
 *            groupc group… argc argv… envc env… "end"
 *   running  made when the program runs: "flopd-running=1", "startedAtMs=…", "complete=1"
 *   report   renamed into place as the last act: "flopd-report=1", kind, … (report.c)
 * The exit code is the program's own, or 128 + signal; REFUSED for all that went wrong before it ran.
 *
 * As process 1 of its namespace it collects the dead, and ends what is left when the program has ended. SIGTERM and
 * SIGCONT go to every process of the job, once each; other signals to the program alone. It keeps what it needs
 * to be another user's parent (CAP_KILL), the program nothing: no capabilities, no descriptors, no new privileges.
 */
#include "contained.h"

#include "shim/execute.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

enum { SWEEP_MS = 20, SWEEPS_MAX = 1500 };

static pid_t main_pid; /* 0 once it was collected */
static struct report report = { .kind = "exited", .exit_code = -1, .signal = -1, .step = "" };

static int64_t clock_us(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static _Noreturn void fail(int status_fd, const char *step, int error)
{
	char text[64];
	int size = snprintf(text, sizeof text, "%s %d", step, error);
	while (write(status_fd, text, (size_t)size) < 0 && errno == EINTR) {}
	_exit(REFUSED);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2];
	memset(none, 0, sizeof none);
	return (int)syscall(SYS_capset, &header, none);
}

int become_job_user(const struct order *order)
{
	if (order->has_user
		&& (setgroups(order->group_count, order->groups) < 0 || setresgid(order->gid, order->gid, order->gid) < 0
			|| setresuid(order->uid, order->uid, order->uid) < 0))
		return errno;
	/* For root the runtime's no_new_privs is what keeps exec from giving them back. */
	return drop_capabilities() < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? errno : 0;
}

void clear_signals(void)
{
	for (int sig = 1; sig < NSIG; sig++) signal(sig, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become_program(const struct order *order, int status_fd)
{
	setsid();
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, 0) < 0) fail(status_fd, "setup", errno);
	syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC); /* all are so already, where the kernel lacks the call */
	int error = become_job_user(order);
	if (error != 0) fail(status_fd, "user", error);
	if (chdir(order->cwd) < 0) fail(status_fd, "chdir", errno);
	clear_signals();
	umask_for_program();
	struct execute_failure failure = execute_program(order->argv, order->envp);
	fail(status_fd, failure.is_interpreter ? "interpreter" : "exec", failure.error);
}

static void take_usage(const struct rusage *usage)
{
	report.user_us += (int64_t)usage->ru_utime.tv_sec * 1000000 + usage->ru_utime.tv_usec;
	report.system_us += (int64_t)usage->ru_stime.tv_sec * 1000000 + usage->ru_stime.tv_usec;
	int64_t resident = (int64_t)usage->ru_maxrss * 1024;
	if (resident > report.max_resident_bytes) report.max_resident_bytes = resident;
}

/* Collects the dead. Returns true when no child is left at all. */
static bool reap(void)
{
	for (;;) {
		int status;
		struct rusage usage;
		pid_t pid = wait4(-1, &status, WNOHANG, &usage);
		if (pid < 0 && errno == EINTR) continue;
		if (pid < 0) return true;
		if (pid == 0) return false;
		take_usage(&usage);
		if (pid != main_pid) continue;
		main_pid = 0;
		if (WIFSIGNALED(status)) {
			report.kind = "signalled";
			report.signal = WTERMSIG(status);
		} else
			report.exit_code = WEXITSTATUS(status);
	}
}

static void pass_on(int sig)
{
	/* As process 1: all processes but itself, and nobody outside its namespace. */
	if (sig == SIGTERM || sig == SIGCONT) kill(-1, sig);
	else if (sig != SIGPIPE && main_pid > 0) kill(main_pid, sig);
}

static void run(const sigset_t *all)
{
	while (main_pid > 0) {
		siginfo_t info;
		int sig = sigwaitinfo(all, &info);
		/* The kernel's own signals (a SIGPIPE, a fault of ours) are not the job's. */
		if (sig > 0 && sig != SIGCHLD && info.si_code <= 0) pass_on(sig);
		reap();
	}
}

/* A job ends with its main process. */
static void sweep(void)
{
	const struct timespec pause = { 0, SWEEP_MS * 1000000L };
	for (int i = 0; i < SWEEPS_MAX; i++) {
		kill(-1, SIGKILL);
		if (reap()) return;
		nanosleep(&pause, NULL);
	}
	report.survivors = true; /* inside the kernel, beyond SIGKILL */
}

static int refuse(int folder, const char *step, int error)
{
	report.kind = "failedToStart";
	report.step = step;
	report.error = error;
	report_write(folder, &report);
	return REFUSED;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--beside") == 0) return beside_run(argc - 2, argv + 2);
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* kill(-1) means a namespace of our own; anywhere else it would be everybody. */
	if (argc != 2 || getpid() != 1) {
		fprintf(stderr, "flopd-contained: it is the first process of a container, and takes its folder\n");
		return REFUSED;
	}
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	int folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct order order;
	int error = folder < 0 ? errno : order_read(folder, &order);
	if (error != 0) {
		fprintf(stderr, "flopd-contained: the order of this job cannot be read: %s\n", strerror(error));
		return REFUSED;
	}
	int status[2];
	if (pipe2(status, O_CLOEXEC) < 0) return refuse(folder, "setup", errno);
	int64_t started_us = clock_us(CLOCK_MONOTONIC);
	report.started_ms = clock_us(CLOCK_REALTIME) / 1000;
	main_pid = fork();
	if (main_pid < 0) return refuse(folder, "fork", errno);
	if (main_pid == 0) {
		close(status[0]);
		become_program(&order, status[1]);
	}
	close(status[1]);
	char text[64];
	ssize_t size;
	while ((size = read(status[0], text, sizeof text - 1)) < 0 && errno == EINTR) {}
	close(status[0]);
	if (size > 0) {
		text[size] = '\0';
		char *space = strchr(text, ' ');
		if (space != NULL) *space = '\0';
		waitpid(main_pid, NULL, 0);
		report.started_ms = -1;
		return refuse(folder, text, space == NULL ? EIO : atoi(space + 1));
	}
	report_running(folder, report.started_ms);
	run(&all);
	sweep();
	report.duration_us = clock_us(CLOCK_MONOTONIC) - started_us;
	report.ended_ms = clock_us(CLOCK_REALTIME) / 1000;
	report_count(&report);
	report_write(folder, &report);
	return report.signal > 0 ? 128 + report.signal : report.exit_code;
}
