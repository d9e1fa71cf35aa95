// Starts programs without copying this process, and collects their ends.
#ifndef FLOPD_SPAWN_H
#define FLOPD_SPAWN_H

#ifdef __cplusplus
extern "C" {
#endif

// See spawn in src/native.ts; `argv` and `environment` end with NULL. The pid, or a negative errno.
int spawn_program(const char *path, char *const argv[], char *const environment[]);

// Collects the ended ones; the number that still run.
int spawn_reap(void);

#ifdef __cplusplus
}
#endif

#endif
