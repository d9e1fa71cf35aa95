/*
 * Commands that come after the job: each in a process group of its own, as the agent's user, outside the job's walls
 * and groups, with a deadline and its output in a file of the attempt's folder, which is made anew and never reached
 * through a link. What they answer decides nothing here: who ordered them reads their file.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

static size_t next;
static int64_t deadline_us;

int64_t after_deadline_us(void)
{
	return deadline_us;
}

static _Noreturn void run(const struct after_command *after, int folder, pid_t shim)
{
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != shim) _exit(127);
	clear_signals();
	int in = open("/dev/null", O_RDWR | O_CLOEXEC), out = in;
	if (*after->output != '\0') {
		unlinkat(folder, after->output, 0);
		out = openat(folder, after->output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(in, 2) < 0 || chdir("/") < 0) _exit(127);
	syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
	execute(after->argv, after->envp);
	_exit(127);
}

pid_t after_start(const struct spec *spec, int folder, int64_t now_us)
{
	pid_t shim = getpid();
	while (next < spec->after_count) {
		const struct after_command *after = &spec->after[next++];
		pid_t pid = fork();
		if (pid == 0) run(after, folder, shim);
		if (pid < 0) continue; /* no process to be had; there is nobody to tell but the reader of its file */
		deadline_us = now_us + after->timeout_ms * 1000;
		return pid;
	}
	deadline_us = 0;
	return 0;
}

void after_run_all(const struct spec *spec, int folder)
{
	for (pid_t pid; (pid = after_start(spec, folder, monotonic_us())) > 0;) {
		for (siginfo_t info = { 0 }; waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;) {
			if (monotonic_us() >= deadline_us) kill(-pid, SIGKILL);
			poll(NULL, 0, 5);
		}
		kill(-pid, SIGKILL); /* what it left in its group; its number is still its own */
		waitpid(pid, NULL, 0);
	}
}
