/*
 * flopd-shim --nest FOLDER: lives as long as its agent and starts shims for it by fork alone. Starting a program
 * costs its agent a blocked event loop and, in a virtual machine, half a millisecond of start-up in the C library;
 * a fork of this small process costs neither. FOLDER holds the attempts' folders and the agent's socket `announce`.
 *
 * Conversation over that socket: the nest says `hello nest PID`; then it takes
 *   start NAME BOOT-ID     forks a shim for the folder NAME, which announces itself like any other
 * and says
 *   refused NAME ERRNO     when there was no process to be had.
 * It ends when the agent closes the connection. Its shims do not: nothing ties them to it.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { REQUEST_BYTES_MAX = 65536, NAME_BYTES_MAX = 100 };

/* So that `ps` tells the shims apart: the arguments are overwritten in place. */
static void name_process(char **argv, int argc, const char *name)
{
	char *end = argv[argc - 1] + strlen(argv[argc - 1]);
	size_t room = (size_t)(end - argv[0]);
	char text[16 + NAME_BYTES_MAX];
	size_t size = (size_t)snprintf(text, sizeof text, "flopd-shim%c%s", '\0', name);
	memset(argv[0], 0, room);
	memcpy(argv[0], text, size < room ? size : room);
}

static bool is_plain_name(const char *name)
{
	return *name != '\0' && *name != '.' && strlen(name) < NAME_BYTES_MAX && strchr(name, '/') == NULL;
}

static int connect_to_agent(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "announce" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
	return -1;
}

/*
 * Tells ext4 that the attempts' folders have nothing to do with each other, as those of users in /home: it spreads
 * them over the disk. Without a journal it does not reuse the inode of a removed file for minutes, and looks at each
 * of them whenever it makes a file nearby: with some thousand short jobs behind it that took 0.7 ms a file, here
 * 0.04 ms. Other file systems do not know the flag and need none.
 */
static void spread_folders(void)
{
	int flags, fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) return;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_TOPDIR_FL) == 0) {
		flags |= FS_TOPDIR_FL;
		ioctl(fd, FS_IOC_SETFLAGS, &flags); /* a hint; refused is fine */
	}
	close(fd);
}

int nest_run(const char *folder, char **argv, int argc)
{
	static char requests[REQUEST_BYTES_MAX + 1];
	size_t size = 0;
	setsid();
	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGSEGV && sig != SIGBUS && sig != SIGFPE && sig != SIGILL && sig != SIGABRT)
			signal(sig, SIG_IGN); /* SIGCHLD too: ended shims need no collecting */
	int fd = chdir(folder) == 0 ? connect_to_agent() : -1;
	if (fd < 0) return EXIT_FOLDER;
	char hello[64];
	int length = snprintf(hello, sizeof hello, "hello nest %d\n", getpid());
	if (send(fd, hello, (size_t)length, MSG_NOSIGNAL) < 0) return EXIT_FOLDER;
	spread_folders();
	for (;;) {
		ssize_t n = recv(fd, requests + size, REQUEST_BYTES_MAX - size, 0);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return 0;
		size += (size_t)n;
		char *at = requests;
		for (char *newline; (newline = memchr(at, '\n', size - (size_t)(at - requests))) != NULL; at = newline + 1) {
			static char name[NAME_BYTES_MAX + 1], boot_id[64];
			*newline = '\0';
			if (sscanf(at, "start %100s %63s", name, boot_id) != 2 || !is_plain_name(name)) continue;
			pid_t pid = fork();
			if (pid == 0) {
				close(fd);
				name_process(argv, argc, name);
				return attempt_run(name, boot_id);
			}
			if (pid > 0) continue;
			char refusal[64 + NAME_BYTES_MAX];
			length = snprintf(refusal, sizeof refusal, "refused %s %d\n", name, errno);
			if (send(fd, refusal, (size_t)length, MSG_NOSIGNAL) < 0) return 0;
		}
		size -= (size_t)(at - requests);
		memmove(requests, at, size);
		if (size == REQUEST_BYTES_MAX) return EXIT_USAGE; /* not an agent of ours */
	}
}
