/*
 * flopd-shim FOLDER BOOT-ID: runs one attempt of one job and outlives the agent that ordered it.
 * flopd-shim --nest FOLDER: starts such shims for an agent, by fork alone (nest.c).
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
 *   spec      the order, written by the agent: NUL-terminated strings "flopd-spec" "1" name announce
 *             time-limit-ms (empty: none) grace-ms working-directory argc argv… envc env… "end"
 *   started   record.c; created exclusively by the job's process as its last act before exec. Whoever creates it
 *             owns the attempt: this, not the lock, is what makes a second start impossible.
 *   stdout, stderr   output.c; made with the first byte.
 *   end       record.c; renamed into place as the last act.
 *   control   Unix stream socket for agents, any number one after the other.
 * The working directory of the shim is the folder, so that long paths meet no limit of socket addresses.
 *
 * Conversation: the shim connects to the agent's announce socket when the program runs, or does not for 20 ms; later
 * agents connect to `control`.
 * Either way the shim says, one line each and as far as it has come:
 *   hello NAME SHIMPID  ·  started pid=N wall=MS  ·  output stdout=N stderr=N (at most 100 a second)  ·  ended
 * and takes   stop GRACEMS   (SIGTERM to the whole tree, SIGKILL after the grace)   and   signal N   (to the group).
 * `ended` comes after the end record is in place, and is the last word. A connection that closes without it means
 * that the shim was killed.
 *
 * Phases: RUNNING until the main process has ended; SWEEPING until no process of the tree is left (they are killed
 * at once: a job ends with its main process); DRAINING until the pipes are empty; then the end record, then exit.
 * The main process stays a zombie until its group has been killed: its number cannot be reused before.
 */
#include "shim.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3) return EXIT_USAGE;
	syscall(SYS_close_range, 3U, ~0U, 0U);
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return EXIT_FOLDER;
	if (strcmp(argv[1], "--nest") == 0) return nest_run(argv[2], argv, argc);
	return attempt_run(argv[1], argv[2]);
}
