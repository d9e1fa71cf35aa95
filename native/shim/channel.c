/*
 * The line from a job's processes to its shim, from fork to exec and, inside a sandbox, to the end: small messages
 * over a pair of sockets that keep their borders. The kernel names the sender of each in the shim's own numbers, which
 * a process inside a PID namespace does not know. It closes by exec, or with the last process that holds it.
 */
#include "shim.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *step_name(int step)
{
	switch (step) {
	case STEP_CLAIM: return "claim";
	case STEP_SETUP: return "setup";
	case STEP_CHDIR: return "chdir";
	case STEP_RECORD: return "record";
	case STEP_EXEC: return "exec";
	case STEP_INTERPRETER: return "interpreter";
	case STEP_FORK: return "fork";
	case STEP_USER: return "user";
	case STEP_SANDBOX: return "sandbox";
	case STEP_REQUEST: return "request";
	case STEP_ENTER: return "enter";
	default: return "";
	}
}

int channel_open(int ends[2])
{
	int on = 1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -1;
	return setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

static void send_message(int fd, const struct message *message)
{
	while (send(fd, message, sizeof *message, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
}

void channel_say(int fd, int kind, int value)
{
	struct message message = { .kind = kind, .status = value };
	send_message(fd, &message);
}

_Noreturn void channel_fail(int fd, int step, int error)
{
	struct message message = { .kind = MESSAGE_FAILED, .failure = { step, error } };
	send_message(fd, &message);
	_exit(127);
}

void channel_refuse(int fd, const char *what, int error)
{
	struct message message = { .kind = MESSAGE_REFUSED, .failure = { STEP_NONE, error } };
	strncpy(message.what, what, sizeof message.what - 1);
	send_message(fd, &message);
}

int channel_take(int fd, struct message *message, pid_t *sender)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec part = { message, sizeof *message };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof control };
	ssize_t n = recvmsg(fd, &header, MSG_DONTWAIT);
	if (n < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
	if (n != (ssize_t)sizeof *message) return 0;
	message->what[sizeof message->what - 1] = '\0';
	*sender = 0;
	for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at != NULL; at = CMSG_NXTHDR(&header, at))
		if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_CREDENTIALS) {
			struct ucred credentials;
			memcpy(&credentials, CMSG_DATA(at), sizeof credentials);
			*sender = credentials.pid;
		}
	return 1;
}
