/*
 * flopd-shim --init: the first process inside a sandbox. It gives up every privilege, becomes the job's user, starts
 * the job, collects the dead, and tells the shim over its channel what a sandbox program would blur: which process
 * failed at what, and the main process's true end.
 * When the main process has ended, init keeps it as a zombie until the shim has heard of it (the shim closes the
 * channel): its number cannot be reused before. Then init ends, and as the first of its PID namespace all with it.
 * The same when the shim dies: its sandbox program may lack the right to kill us, as its orphans, with it.
 * It is deaf to signals, and the job, which has the same user, can neither trace it nor open what it holds.
 */
#include "shim.h"

#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void be_the_job(const struct spec *spec, int running_fd)
{
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	clear_signals();
	struct child_failure failure = { STEP_SETUP, 0 };
	set_rlimits(spec, true, INIT_CHANNEL);
	umask(022);
	if (dup2(INIT_OUT, 1) < 0 || dup2(INIT_ERR, 2) < 0 || fcntl(INIT_OUT, F_SETFD, FD_CLOEXEC) < 0
		|| fcntl(INIT_ERR, F_SETFD, FD_CLOEXEC) < 0)
		failure.error = errno;
	else if (chdir(spec->cwd) < 0) failure = (struct child_failure){ STEP_CHDIR, errno };
	else if ((failure.error = filter_calls(spec)) != 0) failure.step = STEP_SANDBOX;
	else {
		channel_say(INIT_CHANNEL, MESSAGE_JOB, 0);
		failure = execute(spec->argv, spec->envp);
	}
	while (write(running_fd, "", 1) < 0 && errno == EINTR) {}
	channel_fail(INIT_CHANNEL, failure.step, failure.error);
}

/* True when the program runs: the pipe closed by exec. */
static bool await_exec(int fd)
{
	char byte;
	ssize_t n;
	while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR) {}
	close(fd);
	return n == 0;
}

static int status_of(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED) return (info->si_status & 0xff) << 8;
	return (info->si_status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

/* Collects the dead but for the main process, whose end it tells. True when that was told. */
static bool collect(pid_t job)
{
	for (;;) {
		siginfo_t info = { 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
			if (errno == EINTR) continue;
			return false;
		}
		if (info.si_pid == 0) return false;
		if (info.si_pid == job) {
			channel_say(INIT_CHANNEL, MESSAGE_ENDED, status_of(&info));
			return true;
		}
		waitpid(info.si_pid, NULL, 0);
	}
}

int init_run(void)
{
	static struct spec spec;
	int running[2];
	sigset_t all, child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGCHLD, SIG_DFL);
	int error = spec_read(&spec, INIT_SPEC);
	syscall(SYS_close_range, (unsigned)INIT_SPEC, ~0U, 0U);
	if (fcntl(INIT_CHANNEL, F_SETFD, FD_CLOEXEC) < 0) return EXIT_USAGE;
	if (error != 0) channel_fail(INIT_CHANNEL, STEP_SETUP, error);
	error = become_user(&spec, true);
	if (error != 0) channel_fail(INIT_CHANNEL, STEP_USER, error);
	clear_keyring(&spec);
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0
		|| pipe2(running, O_CLOEXEC) < 0)
		channel_fail(INIT_CHANNEL, STEP_SETUP, errno);
	int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (children < 0) channel_fail(INIT_CHANNEL, STEP_SETUP, errno);
	struct pollfd shim = { INIT_CHANNEL, 0, 0 };
	if (poll(&shim, 1, 0) > 0) return EXIT_USAGE; /* it died before the lines above */
	channel_say(INIT_CHANNEL, MESSAGE_INIT, 0);

	pid_t job = fork();
	if (job < 0) channel_fail(INIT_CHANNEL, STEP_FORK, errno);
	if (job == 0) be_the_job(&spec, running[1]);
	close(running[1]);
	close(INIT_OUT);
	close(INIT_ERR);
	if (await_exec(running[0])) channel_say(INIT_CHANNEL, MESSAGE_RUNNING, 0);
	struct pollfd fds[] = { { INIT_CHANNEL, 0, 0 }, { children, POLLIN, 0 } };
	for (bool told = false;;) {
		if (!told && collect(job)) told = true;
		poll(fds, told ? 1 : 2, -1);
		if (fds[0].revents) return 0; /* the shim has heard of the end, or it died: all ends with us */
		struct signalfd_siginfo taken[8];
		while (read(children, taken, sizeof taken) > 0) {}
	}
}
