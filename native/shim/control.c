/*
 * The agents that listen. Each client is sent what it does not know yet, as lines, as fast as it takes them: a
 * slow one skips intermediate `output` lines, a dead one is forgotten, none is ever waited for. Format: shim.c.
 */
#include "shim.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 192, LINES_MAX = 16 };

static struct client {
	bool open, hello, started, offered, ended, blocked, mute;
	int fd;
	uint64_t stdout_bytes, stderr_bytes;
	char in[128];
	size_t in_size;
} clients[CLIENTS_MAX];

static int address_of(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof address->sun_path) return ENAMETOOLONG;
	strcpy(address->sun_path, path);
	return 0;
}

static void drop(struct client *client)
{
	close(client->fd);
	client->open = false;
}

static void add(int fd)
{
	struct client *place = &clients[0];
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (!clients[i].open) {
			place = &clients[i];
			break;
		}
	if (place->open) drop(place); /* the latest agent is the one that matters */
	*place = (struct client){ .open = true, .fd = fd };
}

int control_listen(void)
{
	struct sockaddr_un address;
	address_of(&address, "control");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) return -1;
	unlink("control");
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0) { /* 0600 by the umask */
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

int control_announce(const char *path)
{
	struct sockaddr_un address;
	int error = address_of(&address, path);
	if (error != 0) return error;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) return errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		error = errno;
		close(fd);
		return error;
	}
	add(fd);
	return 0;
}

void control_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) add(fd);
}

/* Lines are far below a socket buffer, so the kernel takes one whole or not at all. */
static bool say(struct client *client, const char *line, int size)
{
	ssize_t n = send(client->fd, line, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == size) return true;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)) client->blocked = true;
	else client->mute = true; /* it has closed; what it said before is still heard */
	return false;
}

static void tell(struct client *client, const struct control_state *state)
{
	char text[5 * LINE_MAX_BYTES];
	int size = 0;
	client->blocked = false;
	if (client->mute) return;
	if (!client->hello) size += snprintf(text, LINE_MAX_BYTES, "hello %.100s %d\n", state->name, getpid());
	if (state->started && !client->started)
		size += snprintf(text + size, LINE_MAX_BYTES, "started pid=%d wall=%" PRId64 "\n", state->pid, state->started_ms);
	if (state->stdout_bytes != client->stdout_bytes || state->stderr_bytes != client->stderr_bytes)
		size += snprintf(text + size, LINE_MAX_BYTES, "output stdout=%" PRIu64 " stderr=%" PRIu64 "\n",
			state->stdout_bytes, state->stderr_bytes);
	if (state->offered_fd > 0 && !client->offered)
		size += snprintf(text + size, LINE_MAX_BYTES, "offered pid=%d fd=%d\n", getpid(), state->offered_fd);
	if (state->ended && !client->ended) size += snprintf(text + size, LINE_MAX_BYTES, "ended\n");
	if (size == 0 || !say(client, text, size)) return;
	client->hello = true;
	client->started = state->started;
	client->stdout_bytes = state->stdout_bytes;
	client->stderr_bytes = state->stderr_bytes;
	client->offered = state->offered_fd > 0;
	client->ended = state->ended;
}

void control_send(const struct control_state *state)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (clients[i].open) tell(&clients[i], state);
}

int control_poll(int i, short *events)
{
	if (!clients[i].open) return -1;
	*events = (short)(POLLIN | (clients[i].blocked ? POLLOUT : 0));
	return clients[i].fd;
}

static bool is_plain_name(const char *name)
{
	return *name != '\0' && *name != '.' && strlen(name) <= ENTRY_NAME_BYTES_MAX && strchr(name, '/') == NULL;
}

static struct command parse(const char *line)
{
	static const struct {
		const char *word;
		int kind;
		long long least, most;
	} words[] = {
		{ "stop ", COMMAND_STOP, 0, INT64_MAX }, { "signal ", COMMAND_SIGNAL, 1, 64 },
		{ "lease ", COMMAND_LEASE, 0, INT64_MAX },
	};
	struct command command = { .kind = COMMAND_NONE };
	if (strncmp(line, "enter ", 6) == 0 && is_plain_name(line + 6)) {
		command.kind = COMMAND_ENTER;
		strcpy(command.name, line + 6);
		return command;
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		size_t length = strlen(words[i].word);
		if (strncmp(line, words[i].word, length) != 0) continue;
		char *end;
		long long value = strtoll(line + length, &end, 10);
		if (end == line + length || *end != '\0' || value < words[i].least || value > words[i].most) break;
		command.kind = words[i].kind;
		command.value = value;
	}
	return command;
}

struct command control_take(int i, short revents)
{
	struct client *client = &clients[i];
	struct command command = { .kind = COMMAND_NONE };
	for (int lines = 0; client->open && lines < LINES_MAX; lines++) {
		char *newline = memchr(client->in, '\n', client->in_size);
		if (newline != NULL) {
			*newline = '\0';
			command = parse(client->in);
			size_t used = (size_t)(newline + 1 - client->in);
			memmove(client->in, client->in + used, client->in_size - used);
			client->in_size -= used;
			if (command.kind != COMMAND_NONE) return command;
			continue; /* a line that we do not know changes nothing */
		}
		if (client->in_size == sizeof client->in) { /* no line of ours is that long */
			drop(client);
			return command;
		}
		if ((revents & (POLLIN | POLLHUP | POLLERR)) == 0) return command;
		ssize_t n = recv(client->fd, client->in + client->in_size, sizeof client->in - client->in_size, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return command;
		if (n <= 0) {
			drop(client);
			return command;
		}
		client->in_size += (size_t)n;
	}
	return command;
}
