/*
 * Commands beside the job. For each the shim forks a process of its own, a child of its tree that ends with the job; it
 * joins the job's groups and namespaces and forks the command there, so that its number is known here and its end is
 * told to us. Only then are bytes carried (relay.c). Nothing that the job owns is opened before the walls are entered.
 */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { ENTRIES_MAX = 16, REQUEST_TIMEOUT_MS = 10000, ENVIRONMENT_MAX = 70000, PLACE_AT = 64 };

static pid_t entries[ENTRIES_MAX];

struct request {
	int rows, columns;         /* 0: pipes */
	const char *cwd;
	char **argv, **envp;
};

static int connect_to_agent(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
	return -1;
}

/* The job's environment with what the request adds; a later entry of the same name replaces an earlier one. */
static char **join_environments(char **job, char **more)
{
	size_t count = 0, room = 1;
	for (char **at = job; *at != NULL; at++) room++;
	for (char **at = more; *at != NULL; at++) room++;
	char **joined = calloc(room, sizeof *joined);
	if (joined == NULL) return NULL;
	for (char **at = job; *at != NULL; at++) joined[count++] = *at;
	for (char **at = more; *at != NULL; at++) {
		size_t name = strcspn(*at, "="), i = 0;
		while (i < count && (strncmp(joined[i], *at, name) != 0 || joined[i][name] != '=')) i++;
		joined[i] = *at;
		if (i == count) count++;
	}
	return joined;
}

static size_t count_of(char **list)
{
	size_t count = 0;
	while (list[count] != NULL) count++;
	return count;
}

/* A client runs it beside the job, with the client's own environment and folder: the request becomes its arguments. */
static bool ask_client(struct request *request, const struct spec *spec, char **more)
{
	static char number[24];
	char **before = request->rows > 0 ? spec->beside_terminal : spec->beside;
	if (before == NULL || before[0] == NULL) return false;
	size_t variables = count_of(more), count = 0;
	char **argv = calloc(count_of(before) + 2 + variables + count_of(request->argv) + 1, sizeof *argv);
	if (argv == NULL) return false;
	snprintf(number, sizeof number, "%zu", variables);
	for (char **at = before; *at != NULL; at++) argv[count++] = *at;
	argv[count++] = (char *)request->cwd;
	argv[count++] = number;
	for (char **at = more; *at != NULL; at++) argv[count++] = *at;
	for (char **at = request->argv; *at != NULL; at++) argv[count++] = *at;
	request->argv = argv;
	request->cwd = spec->cwd;
	request->envp = spec->envp;
	return true;
}

static bool parse_request(struct request *request, const struct spec *spec, char *bytes, size_t size)
{
	struct cursor cursor = { bytes, bytes + size, false };
	const char *magic = cursor_text(&cursor), *version = cursor_text(&cursor);
	if (cursor.bad || strcmp(magic, "flopd-enter") != 0 || strcmp(version, "1") != 0) return false;
	request->rows = (int)cursor_number(&cursor, 0);
	request->columns = (int)cursor_number(&cursor, 0);
	request->cwd = cursor_text(&cursor);
	request->argv = cursor_list(&cursor, cursor_number(&cursor, -1));
	char **more = cursor_list(&cursor, cursor_number(&cursor, -1));
	const char *last = cursor_text(&cursor);
	if (cursor.bad || strcmp(last, "end") != 0 || request->argv[0] == NULL) return false;
	if (spec->beside != NULL) return ask_client(request, spec, more);
	if (*request->cwd == '\0') request->cwd = spec->cwd;
	request->envp = join_environments(spec->envp, more);
	return request->envp != NULL;
}

static ino_t namespace_of(const char *process, const char *name)
{
	char path[64];
	struct stat stat_of;
	snprintf(path, sizeof path, "/proc/%s/ns/%s", process, name);
	return stat(path, &stat_of) == 0 ? stat_of.st_ino : 0;
}

/* Goes where the process is, as far as that is elsewhere; all at once, as one must not leave the next out of reach. */
static int join_namespaces(pid_t pid, int pidfd)
{
	static const struct {
		const char *name;
		int flag;
	} kinds[] = { { "user", CLONE_NEWUSER }, { "mnt", CLONE_NEWNS }, { "pid", CLONE_NEWPID }, { "net", CLONE_NEWNET },
		{ "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS }, { "cgroup", CLONE_NEWCGROUP } };
	char process[16];
	int flags = 0;
	snprintf(process, sizeof process, "%d", pid);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (namespace_of(process, kinds[i].name) != namespace_of("self", kinds[i].name)) flags |= kinds[i].flag;
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0) return errno;
	return flags != 0 && setns(pidfd, flags) < 0 ? errno : 0;
}

static int open_master(void)
{
	unsigned number;
	int unlocked = 0, fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) return -1;
	if (ioctl(fd, TIOCGPTN, &number) == 0 && ioctl(fd, TIOCSPTLCK, &unlocked) == 0) return fd;
	close(fd);
	return -1;
}

struct ends {
	int in, out, err;          /* the command's */
	int failure;               /* closes by exec, or carries what failed */
};

static _Noreturn void be_the_command(const struct spec *spec, const struct request *request, const struct ends *ends)
{
	struct child_failure failure = { STEP_SETUP, 0 };
	setsid();
	clear_signals();
	if (request->rows > 0) ioctl(ends->in, TIOCSCTTY, 0);
	set_rlimits(spec, false, -1);
	set_rlimits(spec, true, -1);
	int error = become_user(spec, spec->wrap != NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	umask(022);
	if (error != 0) failure = (struct child_failure){ STEP_USER, error };
	else if (dup2(ends->in, 0) < 0 || dup2(ends->out, 1) < 0 || dup2(ends->err, 2) < 0) failure.error = errno;
	else if (chdir(request->cwd) < 0) failure = (struct child_failure){ STEP_CHDIR, errno };
	else if ((failure.error = filter_calls(spec)) != 0) failure.step = STEP_SANDBOX;
	else {
		syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
		failure = execute(request->argv, request->envp);
	}
	while (write(ends->failure, &failure, sizeof failure) < 0 && errno == EINTR) {}
	_exit(127);
}

static bool open_pty(struct entry *entry, struct ends *ends, int master, const struct request *request,
	const struct spec *spec)
{
	struct winsize size = { .ws_row = (unsigned short)request->rows, .ws_col = (unsigned short)request->columns };
	ioctl(master, TIOCSWINSZ, &size);
	int terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0) return false;
	if (spec->has_user && fchown(terminal, spec->uid, (gid_t)-1) < 0) errno = 0; /* it can use it all the same */
	ends->in = ends->out = ends->err = terminal;
	entry->in = entry->out = master;
	entry->err = -1;
	entry->pty = true;
	return true;
}

static bool open_pipes(struct entry *entry, struct ends *ends)
{
	int in[2], out[2], err[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) return false;
	ends->in = in[0];
	ends->out = out[1];
	ends->err = err[1];
	entry->in = in[1];
	entry->out = out[0];
	entry->err = err[0];
	return fcntl(entry->in, F_SETFL, O_NONBLOCK) == 0;
}

/* Starts the command where this process is by now. */
static struct child_failure start_command(struct entry *entry, const struct spec *spec, const struct request *request,
	int master)
{
	struct ends ends;
	struct child_failure failure;
	int told[2];
	if (!(request->rows > 0 ? open_pty(entry, &ends, master, request, spec) : open_pipes(entry, &ends))
		|| pipe2(told, O_CLOEXEC) < 0)
		return (struct child_failure){ STEP_SETUP, errno };
	ends.failure = told[1];
	entry->command = fork();
	if (entry->command < 0) return (struct child_failure){ STEP_FORK, errno };
	if (entry->command == 0) be_the_command(spec, request, &ends);
	close(told[1]);
	close(ends.in);
	if (!entry->pty) {
		close(ends.out);
		close(ends.err);
	}
	ssize_t n;
	while ((n = read(told[0], &failure, sizeof failure)) < 0 && errno == EINTR) {}
	close(told[0]);
	if (n == (ssize_t)sizeof failure) {
		waitpid(entry->command, NULL, 0);
		return failure;
	}
	return (struct child_failure){ STEP_NONE, 0 };
}

static void serve(const struct spec *spec, int socket, pid_t pid, int pidfd, bool refused)
{
	static char payload[FRAME_BYTES_MAX];
	struct request request;
	struct entry entry = { .socket = socket };
	char kind;
	ssize_t size = relay_read_frame(socket, &kind, payload, REQUEST_TIMEOUT_MS);
	if (size < 0 || kind != 'R' || !parse_request(&request, spec, payload, (size_t)size)) {
		relay_refuse(socket, STEP_REQUEST, EBADMSG);
		return;
	}
	if (pid == 0 || refused) {
		relay_refuse(socket, STEP_ENTER, refused ? EAGAIN : ESRCH);
		return;
	}
	cgroup_join(spec, CGROUPS_MAX, -1);
	int outside = request.rows > 0 ? open_master() : -1;
	prctl(PR_SET_DUMPABLE, 0); /* nobody inside shall trace the command while it is still ours, even as the same user */
	int error = join_namespaces(pid, pidfd);
	if (error != 0) {
		relay_refuse(socket, STEP_ENTER, error);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user namespace has cleared it */
	int inside = request.rows > 0 ? open_master() : -1; /* has a name there */
	struct child_failure failure = start_command(&entry, spec, &request, inside >= 0 ? inside : outside);
	if (failure.step != STEP_NONE) relay_refuse(socket, failure.step, failure.error);
	else relay_run(&entry);
}

/* Keeps the socket and the descriptor of the job's process, and nothing else of the shim. */
static bool keep_only(int *socket, int *pidfd)
{
	int keep[2] = { fcntl(*socket, F_DUPFD_CLOEXEC, PLACE_AT), -1 };
	if (*pidfd >= 0) keep[1] = fcntl(*pidfd, F_DUPFD_CLOEXEC, PLACE_AT);
	for (int fd = 3; fd < PLACE_AT; fd++) close(fd);
	*socket = keep[0];
	*pidfd = keep[1];
	int last = keep[1] > keep[0] ? keep[1] : keep[0];
	syscall(SYS_close_range, (unsigned)last + 1, ~0U, 0U);
	return keep[0] >= 0;
}

void enter_start(const struct spec *spec, const char *name, pid_t pid)
{
	pid_t shim = getpid();
	int place = 0;
	while (place < ENTRIES_MAX && entries[place] != 0) place++;
	int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1; /* while its number is still its own */
	pid_t server = fork();
	if (server != 0) {
		if (pidfd >= 0) close(pidfd);
		if (server > 0 && place < ENTRIES_MAX) entries[place] = server;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != shim) _exit(127);
	lower_standing();
	int socket = connect_to_agent(name);
	if (socket >= 0 && keep_only(&socket, &pidfd)) {
		serve(spec, socket, pidfd < 0 ? 0 : pid, pidfd, place == ENTRIES_MAX);
		relay_linger(socket);
	}
	_exit(0);
}

void enter_forget(pid_t server)
{
	for (int i = 0; i < ENTRIES_MAX; i++)
		if (entries[i] == server) entries[i] = 0;
}
