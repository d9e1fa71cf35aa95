/*
 * Carries bytes between a command beside the job and the agent that asked for it. INVARIANT: output is read only when
 * what was read before is with the kernel, so a slow agent makes the command wait and nothing here grows; input is
 * taken only within its credit.
 */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const int64_t HOLD_US = 500 * 1000;     /* how long others may hold the pipes of an ended command */
static const int64_t HANGUP_US = 2000 * 1000;  /* from SIGHUP to SIGKILL */
static const int64_t LINGER_US = 5000 * 1000;  /* how long the agent may take to read the last word */

static struct {
	struct entry *entry;
	char in[FRAME_HEAD_BYTES + FRAME_BYTES_MAX]; /* from the agent, until a frame is whole */
	size_t in_size;
	char typed[FRAME_BYTES_MAX];                 /* for the command's standard input */
	size_t typed_from, typed_to;
	char out[FRAME_HEAD_BYTES + FRAME_BYTES_MAX + 256]; /* to the agent */
	size_t out_from, out_to;
	uint32_t credit;                             /* taken by the command, not yet told */
	bool in_ended, gone, ended, said;
	int64_t kill_us, hold_until_us;
} relay;

static uint32_t read_u32(const char *at)
{
	const unsigned char *bytes = (const unsigned char *)at;
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void write_u32(char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++) at[i] = (char)(value >> 8 * i);
}

static size_t put_head(char *at, char kind, size_t size)
{
	at[0] = kind;
	write_u32(at + 1, (uint32_t)size);
	return FRAME_HEAD_BYTES;
}

static bool read_all(int fd, char *into, size_t size, int64_t until_us)
{
	for (size_t at = 0; at < size;) {
		int64_t left_us = until_us - monotonic_us();
		struct pollfd wait = { fd, POLLIN, 0 };
		if (left_us <= 0 || poll(&wait, 1, (int)(left_us / 1000) + 1) <= 0) return false;
		ssize_t n = recv(fd, into + at, size - at, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
		if (n <= 0) return false;
		at += (size_t)n;
	}
	return true;
}

ssize_t relay_read_frame(int socket, char *kind, char *payload, int timeout_ms)
{
	char head[FRAME_HEAD_BYTES];
	int64_t until_us = monotonic_us() + timeout_ms * 1000LL;
	if (!read_all(socket, head, sizeof head, until_us)) return -1;
	uint32_t size = read_u32(head + 1);
	if (size > FRAME_BYTES_MAX || !read_all(socket, payload, size, until_us)) return -1;
	*kind = head[0];
	return (ssize_t)size;
}

static size_t put_end(char *at, char how, int value, const char *step)
{
	size_t length = strlen(step);
	size_t size = put_head(at, 'x', 5 + length);
	at[size] = how;
	write_u32(at + size + 1, (uint32_t)value);
	memcpy(at + size + 5, step, length);
	return size + 5 + length;
}

void relay_refuse(int socket, int step, int error)
{
	char frame[64];
	size_t size = put_end(frame, 2, error, step_name(step));
	if (send(socket, frame, size, MSG_NOSIGNAL) < 0) errno = 0; /* nobody listens any more */
}

void relay_linger(int socket)
{
	static char forgotten[4096];
	int64_t until_us = monotonic_us() + LINGER_US;
	shutdown(socket, SHUT_WR);
	while (read_all(socket, forgotten, 1, until_us)) {}
}

static void agent_is_gone(int64_t now_us)
{
	if (relay.gone) return;
	relay.gone = true;
	relay.kill_us = now_us + HANGUP_US;
	kill(-relay.entry->command, SIGHUP);
	kill(-relay.entry->command, SIGCONT);
}

static void send_signal(int sig)
{
	if (sig < 1 || sig >= NSIG) return;
	if (relay.entry->pty && ioctl(relay.entry->out, TIOCSIG, sig) == 0) return;
	kill(-relay.entry->command, sig);
}

static void close_input(void)
{
	if (relay.entry->pty) {
		char end_of_file = 4;
		if (relay.entry->in >= 0 && write(relay.entry->in, &end_of_file, 1) < 0) errno = 0;
		return;
	}
	if (relay.entry->in >= 0) close(relay.entry->in);
	relay.entry->in = -1;
}

static bool take_frame(char kind, const char *payload, size_t size)
{
	if (kind == 'i' && size == 0) relay.in_ended = true;
	else if (kind == 'i') {
		memmove(relay.typed, relay.typed + relay.typed_from, relay.typed_to - relay.typed_from);
		relay.typed_to -= relay.typed_from;
		relay.typed_from = 0;
		if (relay.typed_to + size > sizeof relay.typed) return false; /* beyond its credit */
		memcpy(relay.typed + relay.typed_to, payload, size);
		relay.typed_to += size;
	} else if (kind == 'w' && size == 4 && relay.entry->pty) {
		const unsigned char *bytes = (const unsigned char *)payload;
		struct winsize window = { .ws_row = (unsigned short)(bytes[0] | bytes[1] << 8),
			.ws_col = (unsigned short)(bytes[2] | bytes[3] << 8) };
		ioctl(relay.entry->out, TIOCSWINSZ, &window);
	} else if (kind == 's' && size == 1 && !relay.ended) send_signal(payload[0]);
	return true; /* a kind that we do not know changes nothing */
}

static void read_agent(int64_t now_us)
{
	ssize_t n = recv(relay.entry->socket, relay.in + relay.in_size, sizeof relay.in - relay.in_size, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n <= 0) {
		agent_is_gone(now_us);
		return;
	}
	relay.in_size += (size_t)n;
	size_t at = 0;
	while (relay.in_size - at >= FRAME_HEAD_BYTES) {
		uint32_t size = read_u32(relay.in + at + 1);
		if (size > FRAME_BYTES_MAX) {
			agent_is_gone(now_us);
			return;
		}
		if (relay.in_size - at - FRAME_HEAD_BYTES < size) break;
		if (!take_frame(relay.in[at], relay.in + at + FRAME_HEAD_BYTES, size)) agent_is_gone(now_us);
		at += FRAME_HEAD_BYTES + size;
	}
	relay.in_size -= at;
	memmove(relay.in, relay.in + at, relay.in_size);
}

static void write_input(void)
{
	ssize_t n = write(relay.entry->in, relay.typed + relay.typed_from, relay.typed_to - relay.typed_from);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n < 0) { /* it reads no more: what comes is taken and forgotten */
		n = (ssize_t)(relay.typed_to - relay.typed_from);
		if (!relay.entry->pty) {
			close(relay.entry->in);
			relay.entry->in = -1;
		}
	}
	relay.typed_from += (size_t)n;
	relay.credit += (uint32_t)n;
}

static bool has_room(void)
{
	return relay.out_from == relay.out_to;
}

/* Reads one stream of the command. Call only with room. */
static void read_output(int *fd, char kind)
{
	ssize_t n = read(*fd, relay.out + FRAME_HEAD_BYTES, FRAME_BYTES_MAX);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n <= 0) { /* of a pty: no process has it open any more */
		close(*fd);
		if (relay.entry->in == *fd) relay.entry->in = -1;
		*fd = -1;
		return;
	}
	relay.out_from = 0;
	relay.out_to = put_head(relay.out, kind, (size_t)n) + (size_t)n;
	if (relay.gone) relay.out_to = 0;
}

static void send_out(int64_t now_us)
{
	if (relay.credit > 0 && has_room() && !relay.gone) {
		relay.out_from = 0;
		relay.out_to = put_head(relay.out, 'c', 4) + 4;
		write_u32(relay.out + FRAME_HEAD_BYTES, relay.credit);
		relay.credit = 0;
	}
	while (relay.out_from < relay.out_to) {
		ssize_t n = send(relay.entry->socket, relay.out + relay.out_from, relay.out_to - relay.out_from,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
		if (n < 0) {
			relay.out_from = relay.out_to = 0;
			agent_is_gone(now_us);
			return;
		}
		relay.out_from += (size_t)n;
	}
	/* Nothing else may ever wake us: the command may wait for input that this credit asks for. */
	if (relay.credit > 0 && !relay.gone) send_out(now_us);
}

/* It stays a zombie until we end, so that its group's number stays its own. */
static void look_for_end(int64_t now_us)
{
	siginfo_t info = { 0 };
	if (relay.ended || waitid(P_PID, (id_t)relay.entry->command, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return;
	if (info.si_pid == 0) return;
	relay.ended = true;
	relay.hold_until_us = now_us + HOLD_US;
}

static void say_end(void)
{
	siginfo_t info = { 0 };
	relay.said = true;
	waitid(P_PID, (id_t)relay.entry->command, &info, WEXITED | WNOHANG | WNOWAIT);
	relay.out_from = 0;
	relay.out_to = put_end(relay.out, info.si_code == CLD_EXITED ? 0 : 1, info.si_status, "");
}

static void say_running(void)
{
	relay.out_to = put_head(relay.out, 'p', 4) + 4;
	write_u32(relay.out + FRAME_HEAD_BYTES, (uint32_t)relay.entry->command);
}

static int until_ms(int64_t now_us)
{
	int64_t until_us = relay.ended ? relay.hold_until_us : relay.gone ? relay.kill_us : 0;
	if (until_us == 0 || (relay.ended && until_us <= now_us)) return -1; /* then only the agent is waited for */
	return until_us <= now_us ? 0 : (int)((until_us - now_us + 999) / 1000);
}

static void wait_and_carry(int signals)
{
	struct entry *entry = relay.entry;
	bool typed = relay.typed_from < relay.typed_to;
	short agent = (short)(POLLIN | (has_room() ? 0 : POLLOUT));
	struct pollfd fds[] = {
		{ relay.gone ? -1 : entry->socket, agent, 0 },
		{ has_room() ? entry->out : -1, POLLIN, 0 },
		{ has_room() ? entry->err : -1, POLLIN, 0 },
		{ typed && entry->in >= 0 ? entry->in : -1, POLLOUT, 0 },
		{ relay.ended ? -1 : signals, POLLIN, 0 },
	};
	if (poll(fds, sizeof fds / sizeof *fds, until_ms(monotonic_us())) < 0) return;
	int64_t now_us = monotonic_us();
	if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) read_agent(now_us);
	if (fds[1].revents) read_output(&entry->out, 'o');
	if (fds[2].revents && has_room()) read_output(&entry->err, 'e');
	if (fds[3].revents && entry->in >= 0) write_input();
	if (fds[4].revents) {
		struct signalfd_siginfo info;
		while (read(signals, &info, sizeof info) > 0) {}
		look_for_end(now_us);
	}
	send_out(now_us);
}

void relay_run(struct entry *entry)
{
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK); /* blocked since the shim */
	relay.entry = entry;
	say_running();
	look_for_end(monotonic_us());
	for (;;) {
		int64_t now_us = monotonic_us();
		bool typed = relay.typed_from < relay.typed_to;
		if (typed && entry->in < 0) {
			relay.credit += (uint32_t)(relay.typed_to - relay.typed_from);
			relay.typed_from = relay.typed_to;
			typed = false;
		}
		if (relay.in_ended && !typed) {
			relay.in_ended = false;
			close_input();
		}
		if (relay.gone && now_us >= relay.kill_us) {
			kill(-entry->command, SIGKILL);
			relay.kill_us = now_us + HANGUP_US;
		}
		bool dry = (entry->out < 0 && entry->err < 0) || now_us >= relay.hold_until_us;
		if (relay.ended && dry && has_room()) {
			if (relay.said || relay.gone) break;
			say_end();
			send_out(now_us);
			continue;
		}
		wait_and_carry(signals);
	}
	waitpid(entry->command, NULL, 0);
}
