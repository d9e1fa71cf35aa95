/*
 * Tries what a job must not be able to do, and says how it went: one line `VERB ARGUMENT: ok` or `…: ERRNO` for each
 * word pair of its arguments. Exit code 0 whatever came out; the test reads the lines.
 *
 *   read PATH · write PATH (appends a byte) · remove PATH · list PATH · chroot-root PATH
 *   signal PID · ptrace PID · peek PID (process_vm_readv) · connect PORT (on the loopback)
 *   user UID (setuid) · mknod PATH · mount PATH · anybody N (signals that reach a process among 2..N)
 *   swap N (N times: replaces what lies around its workspace, the folder above it included) · whoami X
 *   call N (system call of this number, all arguments 0) · namespace N (unshare and clone with a new user namespace)
 *   oldcall N (the same with 32-bit numbers and one flag, a new user namespace; ENXIO where there are none)
 *   bless PATH (not for jobs: gives the file the capability to read everything)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int done(int result) { return result < 0 ? errno : 0; }

static int open_as(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0) return errno;
	char byte = 'x';
	ssize_t n = (flags & O_ACCMODE) == O_RDONLY ? read(fd, &byte, 1) : write(fd, &byte, 1);
	int error = n < 0 ? errno : 0;
	close(fd);
	return error;
}

static int list(const char *path)
{
	DIR *folder = opendir(path);
	if (folder == NULL) return errno;
	int count = 0;
	while (readdir(folder) != NULL) count++;
	closedir(folder);
	return count > 2 ? 0 : ENOENT; /* an empty one tells nothing */
}

static int peek(pid_t pid)
{
	char bytes[16];
	struct iovec here = { bytes, sizeof bytes }, there = { (void *)0x400000, sizeof bytes };
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0) return 0;
	return errno == EFAULT ? 0 : errno; /* EFAULT: allowed, only nothing there */
}

static int connect_to(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) return errno;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int error = done(connect(fd, (struct sockaddr *)&address, sizeof address));
	close(fd);
	return error;
}

static int attach(pid_t pid)
{
	int error = done(ptrace(PTRACE_SEIZE, pid, 0, 0));
	if (error == 0) ptrace(PTRACE_DETACH, pid, 0, 0);
	return error;
}

/* How many others a signal reaches; the test expects none beside the process that waits for this one. */
static int anybody(int last)
{
	for (pid_t pid = 2; pid <= last; pid++)
		if (pid != getpid() && pid != getppid() && kill(pid, 0) == 0) return 0;
	return ESRCH;
}

/* 0 when any of the replacements succeeded. */
static int swap(int times)
{
	int first = 0;
	for (int i = 0; i < times; i++) {
		int results[] = {
			done(rename("../workspace", "../moved")),
			done(rename("../stdout", "../moved")),
			done(unlink("../stdout")),
			done(symlink("/etc/passwd", "../stdout")),
			done(symlink("/etc/passwd", "../end")),
			done(unlink("../meter")),
		};
		for (size_t at = 0; at < sizeof results / sizeof *results; at++) {
			if (results[at] == 0) return 0;
			if (first == 0) first = results[at];
		}
		/* Inside it is the job's own: what the agent meets there changes all the time. */
		unlink("own");
		if (i % 2 == 0) { if (symlink("/etc", "own") < 0) return 0; }
		else { if (mkdir("own", 0700) < 0 || rmdir("own") < 0) return 0; }
	}
	return first;
}

/* 0 when either way leads into a user namespace. */
static int make_namespace(void)
{
	int error = done(unshare(CLONE_NEWUSER));
	if (error == 0) return 0;
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) _exit(0);
	if (pid > 0) waitpid(pid, NULL, 0);
	return pid < 0 ? errno : 0;
}

static int call_32(int number)
{
#ifdef __x86_64__
	int result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(CLONE_NEWUSER), "c"(0), "d"(0), "S"(0), "D"(0) : "memory");
	return result < 0 ? -result : 0;
#else
	(void)number;
	return ENXIO;
#endif
}

static int bless(const char *path)
{
	struct vfs_cap_data data = { .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE };
	data.data[0].permitted = 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH;
	return done(setxattr(path, "security.capability", &data, XATTR_CAPS_SZ_2, 0));
}

static int try(const char *verb, const char *what)
{
	int number = atoi(what);
	if (strcmp(verb, "read") == 0) return open_as(what, O_RDONLY);
	if (strcmp(verb, "write") == 0) return open_as(what, O_WRONLY | O_CREAT | O_APPEND);
	if (strcmp(verb, "remove") == 0) return done(unlink(what));
	if (strcmp(verb, "list") == 0) return list(what);
	if (strcmp(verb, "signal") == 0) return done(kill(number, SIGKILL));
	if (strcmp(verb, "ptrace") == 0) return attach(number);
	if (strcmp(verb, "peek") == 0) return peek(number);
	if (strcmp(verb, "connect") == 0) return connect_to(number);
	if (strcmp(verb, "user") == 0) return done(setuid((uid_t)number));
	if (strcmp(verb, "mknod") == 0) return done(mknod(what, S_IFCHR | 0666, makedev(1, 5)));
	if (strcmp(verb, "mount") == 0) return done(mount("none", what, "tmpfs", 0, NULL));
	if (strcmp(verb, "anybody") == 0) return anybody(number);
	if (strcmp(verb, "call") == 0) return done((int)syscall(number, 0, 0, 0, 0, 0, 0));
	if (strcmp(verb, "namespace") == 0) return make_namespace();
	if (strcmp(verb, "oldcall") == 0) return call_32(number);
	if (strcmp(verb, "swap") == 0) return swap(number);
	if (strcmp(verb, "bless") == 0) return bless(what);
	if (strcmp(verb, "whoami") == 0) {
		printf("uid %u %u\n", getuid(), geteuid());
		return 0;
	}
	return EINVAL;
}

int main(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		int error = try(argv[i], argv[i + 1]);
		printf("%s %s: %s\n", argv[i], argv[i + 1], error == 0 ? "ok" : strerrorname_np(error));
		fflush(stdout);
	}
	return 0;
}
