/*
 * A command beside the program of a container job, started by the container's runtime: FOLDER CWD ENVC env… argv…. It
 * gets the job's user, environment (with these variables added), working directory (or this one) and no privileges. It
 * ends with the container. A command that cannot be run is told as a shell would: 127 not found, 126 not runnable.
 */
#include "contained.h"

#include "shim/execute.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* The job's environment with what is added; a later entry of the same name replaces an earlier one. */
static char **join(char **job, char **more, size_t added)
{
	size_t count = 0;
	while (job[count] != NULL) count++;
	char **joined = calloc(count + added + 1, sizeof *joined);
	if (joined == NULL) return NULL;
	memcpy(joined, job, count * sizeof *joined);
	for (size_t k = 0; k < added; k++) {
		size_t name = strcspn(more[k], "="), i = 0;
		while (i < count && (strncmp(joined[i], more[k], name) != 0 || joined[i][name] != '=')) i++;
		joined[i] = more[k];
		if (i == count) count++;
	}
	return joined;
}

static int refuse(const char *what, int error)
{
	fprintf(stderr, "flopd: %s: %s\n", what, strerror(error));
	return REFUSED;
}

int beside_run(int argc, char **argv)
{
	if (argc < 4) return refuse("--beside", EINVAL);
	char *end;
	long added = strtol(argv[2], &end, 10);
	if (*end != '\0' || added < 0 || added > argc - 4) return refuse("--beside", EINVAL);
	int folder = open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct order order;
	int error = folder < 0 ? errno : order_read(folder, &order);
	if (error != 0) return refuse("the order of the job", error);
	const char *cwd = *argv[1] == '\0' ? order.cwd : argv[1];
	char **envp = join(order.envp, argv + 3, (size_t)added), **command = argv + 3 + added;
	if (envp == NULL) return refuse("environment", ENOMEM);
	syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
	error = become_job_user(&order);
	if (error != 0) return refuse("user", error);
	if (chdir(cwd) < 0) return refuse(cwd, errno);
	clear_signals();
	umask_for_program();
	struct execute_failure failure = execute_program(command, envp);
	refuse(command[0], failure.error);
	return failure.error == ENOENT && !failure.is_interpreter ? 127 : 126;
}
