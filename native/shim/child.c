/*
 * From fork to exec. The child claims the attempt (record `started`) before it becomes the program or its sandbox, so
 * the rule "the record is on disk before the program runs" needs no conversation between the two processes.
 * What the program gets: a session and process group of its own, default signals and an empty mask, umask 022,
 * /dev/null as stdin, the two pipes, no other descriptor; oom_score_adj and niceness 0 where the agent's are below
 * (the agent's privileges are not the job's); the control groups, limits and user of its order. It dies when the shim
 * dies. With a sandbox, what concerns the user and the program itself is done inside it (init.c).
 */
#include "shim.h"

#include "execute.h"
#include "fault-points.h"
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

void clear_signals(void)
{
	for (int sig = 1; sig < NSIG; sig++) signal(sig, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

struct child_failure execute(char **argv, char **envp)
{
	struct execute_failure failure = execute_program(argv, envp);
	return (struct child_failure){ failure.is_interpreter ? STEP_INTERPRETER : STEP_EXEC, failure.error };
}

void lower_standing(void)
{
	if (getpriority(PRIO_PROCESS, 0) < 0) setpriority(PRIO_PROCESS, 0, 0);
	char text[16] = "";
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (fd < 0) return;
	if (read(fd, text, sizeof text - 1) > 0 && text[0] == '-' && pwrite(fd, "0", 1, 0) < 0) errno = 0;
	close(fd);
}

static void die_with_shim(pid_t shim, int channel_fd)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) channel_fail(channel_fd, STEP_SETUP, errno);
	if (getppid() != shim) _exit(127); /* it died before the line above */
}

/* Moves descriptors to fixed numbers, in the order of `from`, without treading on one that is still to be moved. */
static int place_descriptors(const int *from, int count)
{
	int high[8];
	for (int i = 0; i < count; i++)
		if ((high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 32)) < 0) return errno;
	for (int i = 0; i < count; i++)
		if (dup2(high[i], i) < 0) return errno;
	return 0;
}

/* The sandbox program, which then starts the shim's own executable by its descriptor. */
static _Noreturn void enter_sandbox(const struct spec *spec, const struct child_place *place)
{
	static char init_path[32];
	size_t count = 0;
	while (spec->wrap[count] != NULL) count++;
	char **argv = calloc(count + 3, sizeof *argv);
	char *environment[] = { NULL }; /* nothing that the job chose comes before its walls */
	if (argv == NULL) channel_fail(place->channel_fd, STEP_SETUP, ENOMEM);
	memcpy(argv, spec->wrap, count * sizeof *argv);
	snprintf(init_path, sizeof init_path, "/proc/self/fd/%d", INIT_EXE);
	argv[count] = init_path;
	argv[count + 1] = "--init";
	int from[] = { [0] = open("/dev/null", O_RDONLY | O_CLOEXEC), [1] = place->words_fd, [2] = place->words_fd,
		[INIT_CHANNEL] = place->channel_fd, [INIT_OUT] = place->out_fd, [INIT_ERR] = place->err_fd,
		[INIT_SPEC] = place->spec_fd, [INIT_EXE] = place->exe_fd };
	int error = from[0] < 0 ? errno : place_descriptors(from, INIT_EXE + 1);
	if (error != 0) channel_fail(place->channel_fd, STEP_SETUP, error);
	syscall(SYS_close_range, (unsigned)INIT_EXE + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (chdir("/") < 0) channel_fail(INIT_CHANNEL, STEP_SETUP, errno);
	umask(022);
	execve(argv[0], argv, environment);
	channel_fail(INIT_CHANNEL, STEP_SANDBOX, errno);
}

pid_t child_start(const struct spec *spec, const struct child_place *place)
{
	pid_t shim = getpid();
	int channel = place->channel_fd;
	size_t joined;
	pid_t pid = cgroup_fork(spec, &joined);
	if (pid != 0) return pid;

	setsid();
	die_with_shim(shim, channel);
	clear_signals();
	cgroup_join(spec, joined, channel);
	lower_standing();
	set_rlimits(spec, false, channel);
	int error = give_to_user(place->folder, spec);
	if (error != 0) channel_fail(channel, STEP_USER, error);
	/* As the agent's user this is told before the attempt is taken; another user must not be asked as the agent. */
	if (spec->wrap == NULL && !spec->has_user && chdir(spec->cwd) < 0) channel_fail(channel, STEP_CHDIR, errno);
	error = record_started(place->folder, place->boot_id, shim, place->wall_ms);
	if (error != 0) channel_fail(channel, error == EEXIST ? STEP_CLAIM : STEP_RECORD, error);
	fault_hit("claimed");
	if (spec->wrap != NULL) enter_sandbox(spec, place);

	int from[] = { open("/dev/null", O_RDONLY | O_CLOEXEC), place->out_fd, place->err_fd };
	error = from[0] < 0 ? errno : place_descriptors(from, 3);
	if (error != 0) channel_fail(channel, STEP_SETUP, error);
	syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC); /* all are so already, where the kernel lacks the call */
	set_rlimits(spec, true, channel);
	error = become_user(spec, false);
	if (error != 0) channel_fail(channel, STEP_USER, error);
	clear_keyring(spec);
	if (spec->has_user) {
		die_with_shim(shim, channel); /* a change of user has cleared it */
		if (chdir(spec->cwd) < 0) channel_fail(channel, STEP_CHDIR, errno);
	}
	umask(022);
	error = filter_calls(spec);
	if (error != 0) channel_fail(channel, STEP_SANDBOX, error);
	struct child_failure failure = execute(spec->argv, spec->envp);
	channel_fail(channel, failure.step, failure.error);
}
