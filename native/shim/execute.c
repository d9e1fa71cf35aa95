/*
 * From a name to a running program. A bare name is looked up along the program's own PATH. As with execvp the search
 * goes on past folders that are missing or closed, and a file that may not be executed is told only if no later one
 * runs. Unlike execvp a file that the kernel does not know is never handed to a shell.
 */
#include "execute.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What execve's error means for `path`, which it could not run. */
static struct execute_failure explain(const char *path, int error)
{
	struct stat stat_of;
	struct execute_failure failure = { error, false };
	if (stat(path, &stat_of) < 0) return failure;
	if (S_ISDIR(stat_of.st_mode)) failure.error = EISDIR;
	else if (error == ENOENT) failure.is_interpreter = true;
	return failure;
}

struct execute_failure execute_program(char **argv, char **envp)
{
	const char *name = argv[0];
	if (strchr(name, '/') != NULL) {
		execve(name, argv, envp);
		return explain(name, errno);
	}
	const char *path = "";
	for (char **entry = envp; *entry != NULL; entry++)
		if (strncmp(*entry, "PATH=", 5) == 0) path = *entry + 5;
	struct execute_failure worst = { ENOENT, false };
	size_t name_size = strlen(name) + 1;
	for (const char *at = path;; at++) {
		size_t length = strcspn(at, ":");
		char candidate[4096];
		if (length + 1 + name_size <= sizeof candidate) {
			memcpy(candidate, length == 0 ? "." : at, length == 0 ? 1 : length);
			size_t used = length == 0 ? 1 : length;
			candidate[used] = '/';
			if (used + 1 + name_size <= sizeof candidate) {
				memcpy(candidate + used + 1, name, name_size);
				execve(candidate, argv, envp);
				int error = errno;
				struct execute_failure failure = explain(candidate, error);
				switch (error) {
				case ENOENT: case ENOTDIR: case ESTALE: case ENODEV: case ETIMEDOUT: case ENAMETOOLONG: case ELOOP:
					if (failure.is_interpreter) return failure;
					break;
				case EACCES:
					if (failure.error == EACCES && access(candidate, F_OK) == 0) worst = failure;
					break;
				default:
					return failure;
				}
			}
		}
		at += length;
		if (*at == '\0') return worst;
	}
}
