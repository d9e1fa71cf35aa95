/*
 * From fork to exec. The child claims the attempt (record `started`) as its last act before exec, so the rule
 * "the record is on disk before the program runs" needs no conversation between the two processes.
 * What the program gets: a session and process group of its own, default signals and an empty mask, umask 022,
 * /dev/null as stdin, the two pipes, no other descriptor; oom_score_adj and niceness 0 where the agent's are below
 * (the agent's privileges are not the job's). Resource limits are inherited. It dies when the shim dies.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

const char *child_step_name(int step)
{
	switch (step) {
	case STEP_CLAIM: return "claim";
	case STEP_SETUP: return "setup";
	case STEP_CHDIR: return "chdir";
	case STEP_RECORD: return "record";
	case STEP_EXEC: return "exec";
	case STEP_INTERPRETER: return "interpreter";
	case STEP_FORK: return "fork";
	default: return "";
	}
}

static _Noreturn void fail(int status_fd, int step, int error)
{
	struct child_failure failure = { step, error };
	while (write(status_fd, &failure, sizeof failure) < 0 && errno == EINTR) {}
	_exit(127);
}

static void reset_oom_score(void)
{
	char text[16] = "";
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (fd < 0) return;
	if (read(fd, text, sizeof text - 1) > 0 && text[0] == '-' && pwrite(fd, "0", 1, 0) < 0) errno = 0;
	close(fd);
}

/* What execve's error means for `path`, which it could not run. */
static struct child_failure explain(const char *path, int error)
{
	struct stat stat_of;
	struct child_failure failure = { STEP_EXEC, error };
	if (stat(path, &stat_of) < 0) return failure;
	if (S_ISDIR(stat_of.st_mode)) failure.error = EISDIR;
	else if (error == ENOENT) failure.step = STEP_INTERPRETER; /* the file is there; what it names is not */
	return failure;
}

/*
 * Looks a bare name up along the job's own PATH. As with execvp the search goes on past folders that are missing
 * or closed, and a file that may not be executed is told only if no later one runs. Unlike execvp a file that the
 * kernel does not know is never handed to a shell.
 */
static struct child_failure execute(const struct spec *spec)
{
	const char *name = spec->argv[0];
	if (strchr(name, '/') != NULL) {
		execve(name, spec->argv, spec->envp);
		return explain(name, errno);
	}
	const char *path = "";
	for (char **entry = spec->envp; *entry != NULL; entry++)
		if (strncmp(*entry, "PATH=", 5) == 0) path = *entry + 5;
	struct child_failure worst = { STEP_EXEC, ENOENT };
	size_t name_size = strlen(name) + 1;
	for (const char *at = path;; at++) {
		size_t length = strcspn(at, ":");
		char candidate[4096];
		if (length + 1 + name_size <= sizeof candidate) {
			memcpy(candidate, length == 0 ? "." : at, length == 0 ? 1 : length);
			size_t used = length == 0 ? 1 : length;
			candidate[used] = '/';
			if (used + 1 + name_size <= sizeof candidate) {
				memcpy(candidate + used + 1, name, name_size);
				execve(candidate, spec->argv, spec->envp);
				int error = errno;
				struct child_failure failure = explain(candidate, error);
				switch (error) {
				case ENOENT: case ENOTDIR: case ESTALE: case ENODEV: case ETIMEDOUT: case ENAMETOOLONG: case ELOOP:
					if (failure.step == STEP_INTERPRETER) return failure;
					break;
				case EACCES:
					if (failure.error == EACCES && access(candidate, F_OK) == 0) worst = failure;
					break;
				default:
					return failure;
				}
			}
		}
		at += length;
		if (*at == '\0') return worst;
	}
}

pid_t child_start(const struct spec *spec, const struct child_place *place)
{
	pid_t shim = getpid();
	int status_fd = place->status_fd;
	pid_t pid = fork();
	if (pid != 0) return pid;

	setsid();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail(status_fd, STEP_SETUP, errno);
	if (getppid() != shim) _exit(127); /* the shim died before the line above */
	for (int sig = 1; sig < NSIG; sig++) signal(sig, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(place->out_fd, 1) < 0 || dup2(place->err_fd, 2) < 0)
		fail(status_fd, STEP_SETUP, errno);
	syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC); /* all are so already, where the kernel lacks the call */
	reset_oom_score();
	if (getpriority(PRIO_PROCESS, 0) < 0) setpriority(PRIO_PROCESS, 0, 0);

	if (chdir(spec->cwd) < 0) fail(status_fd, STEP_CHDIR, errno);
	int error = record_started(place->folder, place->boot_id, shim, place->wall_ms);
	if (error != 0) fail(status_fd, error == EEXIST ? STEP_CLAIM : STEP_RECORD, error);
	umask(022);
	struct child_failure failure = execute(spec);
	fail(status_fd, failure.step, failure.error);
}
