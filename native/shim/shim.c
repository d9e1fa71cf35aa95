/*
 * flopd-shim FOLDER BOOT-ID: runs one attempt of one job and outlives the agent that ordered it.
 * flopd-shim --nest FOLDER: starts such shims for an agent, by fork alone (nest.c).
 * flopd-shim --init: the first process inside a sandbox (init.c).
 *
 * One shim per attempt: it locks the folder; a second one on the same folder exits at once without effect. What
 * it does depends on what it finds there, so that an agent that has lost sight of an attempt simply starts it again:
 *
 *   `end` exists       the attempt is over: says so to the agent.
 *   `started` exists   an earlier shim died: ends what is left of the job's tree and records kind=lost. An
 *                      incomplete `started` means that no program ever ran: it was cut off before exec, or an agent
 *                      made it so that the attempt shall never start.
 *   neither            runs the job.
 *
 * Files in the folder (all 0600)
 *   spec      the order, written by the agent. Format below.
 *   started   record.c; created exclusively by the job's process before it becomes the program or its sandbox.
 *             Whoever creates it owns the attempt: this, not the lock, is what makes a second start impossible.
 *   stdout, stderr   output.c; made with the first byte.
 *   end       record.c; renamed into place as the last act.
 *   control   Unix stream socket for agents, any number one after the other.
 * The working directory of the shim is the folder, so that long paths meet no limit of socket addresses.
 *
 * spec, version 2: NUL-terminated strings "flopd-spec" "2", then sections of NAME COUNT and so many strings, in any
 * order, and "end". A section that is absent is unlimited, empty or off; one that this build does not know is passed
 * over. What a job must not run without gets a new version instead.
 *   name announce cwd            one string each; announce: the agent's socket, relative to the folder
 *   argv env                     the program and its whole environment
 *   time-limit-ms grace-ms output-quota lease-ms   one number each
 *   checkpoint                   signal and how many ms before the time limit
 *   user                         uid gid group…
 *   wrap                         the sandbox program and its arguments, up to and including "--"
 *   filter                       1: system calls that no job needs are refused to it (filter.c). No new version for it:
 *                                whoever writes it has this shim started
 *   cgroup (repeated)            folder, 1 or 2, controllers by commas, then file and value of each setting
 *   rlimits                      name without RLIMIT_ and value of each
 *   after (repeated)             timeout-ms, output file or "", ARGC argv…, then its environment
 *   client client-terminal       the program is a client of what holds the job (a container's runtime): stopping signals
 *                                go to it alone, it keeps the agent's privileges, and what it left is killed only when
 *                                the commands that come after have been run. The values are what stands before a
 *                                command beside the job, without and with a terminal; it gets the working directory
 *                                ("": the job's), ENVC env… and argv… of the request as words
 * Version 1 is still read: name announce time-limit-ms(empty: none) grace-ms cwd argc argv… envc env… "end".
 *
 * Conversation: the shim connects to the agent's announce socket when the program runs, or does not for 20 ms; later
 * agents connect to `control`.
 * Either way the shim says, one line each and as far as it has come:
 *   hello NAME SHIMPID  ·  started pid=N wall=MS  ·  output stdout=N stderr=N (at most 100 a second)  ·  ended
 *   offered pid=N fd=N    the disk refuses the end record: until it takes it, /proc/PID/fd/FD is the same text
 * and takes
 *   stop GRACEMS   SIGTERM to the whole tree, SIGKILL after the grace
 *   signal N       to the group of the main process
 *   lease MS       the job is stopped when no further lease comes in so much time
 *   enter NAME     runs a command beside the job; NAME is a socket in the folder, where the agent listens. See below.
 * `ended` comes after the end record is in place, and is the last word. A connection that closes without it means
 * that the shim was killed.
 *
 * A command beside the job (enter.c). The shim connects to the socket NAME of the attempt's folder, one connection for
 * one command, and speaks frames in both directions: one byte of kind, four bytes of length (little-endian, at most
 * 65536), so many bytes.
 *   agent -> shim
 *     R   the request, first and once; NUL-terminated strings: "flopd-enter" "1" ROWS COLUMNS ("0" "0": pipes, else a
 *         pty of this size) CWD ("": the job's) ARGC argv… ENVC env… (added to the job's, same names replaced) "end"
 *     i   bytes for standard input; an empty one: its end. Never more than 65536 bytes beyond those credited by `c`
 *     w   window size of the pty: rows and columns, two bytes each, little-endian
 *     s   one byte: this signal goes to the command's process group (with a pty: to the one in its foreground)
 *   shim -> agent
 *     p   the command runs; four bytes: its pid as seen on the host
 *     o e bytes of its standard output and error (with a pty all come as `o`)
 *     c   four bytes: so many further bytes of standard input were taken by the command
 *     x   the last word. First byte 0: exited, 1: killed by a signal, 2: could not be started; then four bytes: exit
 *         code, signal, or errno; then, after 2, the step that failed as text (`exec`, `chdir`, `request`, `enter`, …)
 * It comes when the command has ended and its output was read to its end, or for 500 ms after that while something
 * else holds the pipe; the agent closes first, within 5 s. When the agent closes the connection the command gets SIGHUP and, 2 s later, SIGKILL, with its
 * group. When the job ends all commands beside it are killed; the connection may then close without `x`. The command has
 * the job's user, namespaces, control groups, environment and working directory, no new privileges, and a session of
 * its own.
 *
 * Phases: RUNNING until the main process has ended; SWEEPING until no process of the tree is left (they are killed
 * at once: a job ends with its main process); DRAINING until the pipes are empty; AFTERWARDS while the commands of the
 * order run that come after a job; then the end record, then exit.
 * The main process stays a zombie until its group has been killed: its number cannot be reused before.
 */
#include "shim.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--init") == 0) return init_run();
	if (argc < 3) return EXIT_USAGE;
	syscall(SYS_close_range, 3U, ~0U, 0U);
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return EXIT_FOLDER;
	if (strcmp(argv[1], "--nest") == 0) return nest_run(argv[2], argv, argc);
	return attempt_run(argv[1], argv[2]);
}
