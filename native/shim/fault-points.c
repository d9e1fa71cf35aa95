/* Dies where a test wants it to. See fault-points.h. */
#include "fault-points.h"

#ifdef FLOPD_FAULT_POINTS

#include "shim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pid_t shim_pid;
static int beside = -1; /* the folder above the attempt's */

void fault_arm(void)
{
	shim_pid = getpid();
	beside = open("..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void fault_hit(const char *point)
{
	char wanted[64] = "";
	int fd = openat(beside, "shim-fault", O_RDONLY | O_CLOEXEC);
	if (fd < 0) return;
	ssize_t n = read(fd, wanted, sizeof wanted - 1);
	close(fd);
	if (n <= 0) return;
	wanted[strcspn(wanted, "\n")] = '\0';
	if (strcmp(wanted, point) != 0) return;
	if (renameat(beside, "shim-fault", beside, "shim-fault.hit") < 0) return; /* another shim was first */
	kill(shim_pid, SIGKILL);
	for (;;) pause();
}

#endif
