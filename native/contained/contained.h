/* The parts of the first process of a container job; formats are described in contained.c and report.c. */
#ifndef FLOPD_CONTAINED_H
#define FLOPD_CONTAINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- order.c: what the agent ordered ---- */

struct order {
	const char *cwd;
	bool has_user;
	uid_t uid;
	gid_t gid, *groups;
	size_t group_count;
	char **argv, **envp;
};

/* Reads `order` of the folder. Returns 0 or an errno; EBADMSG for one that is torn or foreign. */
int order_read(int folder, struct order *order);

/* ---- contained.c, beside.c ---- */

enum { REFUSED = 125 };        /* exit code for all that went wrong before a program ran */

/* Without capabilities or new privileges, as the order's user. Returns 0 or an errno. */
int become_job_user(const struct order *order);
void clear_signals(void);
int beside_run(int argc, char **argv);

/* ---- report.c: what became of it ---- */

struct report {
	const char *kind;          /* exited, signalled, failedToStart */
	int exit_code, signal;     /* -1 for none */
	const char *step;          /* of a failed start; empty for none */
	int error;                 /* its errno, 0 for none */
	int64_t started_ms, ended_ms; /* wall clock; -1 for a program that never ran */
	int64_t duration_us, user_us, system_us, max_resident_bytes;
	int64_t memory_peak_bytes, processes_peak, out_of_memory_kills; /* by the control group; -1 unknown */
	bool survivors;
};

/* The mode of files that the program makes. */
void umask_for_program(void);
/* Reads the counters of the container's control group, where they are to be seen in it. */
void report_count(struct report *report);
void report_running(int folder, int64_t started_ms);
void report_write(int folder, const struct report *report);

#endif
