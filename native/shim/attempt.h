/* One attempt: what attempt.c, main.c and finish.c share. Nobody else includes this. */
#ifndef FLOPD_SHIM_ATTEMPT_H
#define FLOPD_SHIM_ATTEMPT_H

#include "shim.h"

#define MS 1000LL
#ifdef FLOPD_FAULT_POINTS
static const int64_t SWEEP_DEADLINE_US = 2000 * MS;   /* tests do not wait that long */
#else
static const int64_t SWEEP_DEADLINE_US = 30000 * MS;  /* processes in state D are reported after that */
#endif
static const int64_t SWEEP_EVERY_US = 10 * MS, SWEEP_SELDOM_US = 500 * MS;

struct attempt {
	enum { RUNNING, SWEEPING, DRAINING, AFTERWARDS } phase;
	struct spec spec;
	struct control_state control;
	struct end_record end;
	struct stream out, err;
	int folder, signals, listener;
	int channel, words, oom;   /* -1 for none; what the sandbox program says on its stderr; counters_watch */
	pid_t child;               /* what was forked: the job, or its sandbox program; 0 after it was collected */
	pid_t init_pid;            /* first process of the sandbox, 0 for none */
	pid_t main_pid;            /* the job's main process; 0 before it is known and after its end */
	pid_t after_pid;           /* the command that comes after it */
	bool forked, running, main_ended, claimed_elsewhere, reserved, drained;
	int kills;                 /* rounds of SIGKILL */
	struct child_failure failure;
	int64_t started_us, next_output_us, quiet_until_us, announce_us, announce_until_us;
	int64_t time_limit_us, checkpoint_us, lease_us, kill_us, sweep_us, sweep_every_us, oom_us; /* 0 for none */
	int64_t phase_until_us, disk_until_us;
	const char *boot_id;
};

extern struct attempt shim;

/* ---- main.c: the main process, its signals and its end ---- */

/* Collects the dead, any number. Returns true when no child is left at all. */
bool reap(int64_t now_us);
/* Takes what the processes before exec, or inside the sandbox, tell. */
void read_channel(int64_t now_us);
/* It has become the program: it said so, or has written something, which may be heard first. */
void program_runs(void);
/* Asks the job to end. The first reason stays; a later, shorter grace counts. */
void begin_stop(const char *reason, int64_t grace_ms, int64_t now_us);
/* Kills it, and all of its tree; to be called again until it has ended. */
void kill_job(void);
/* Kills what is left after its end. Returns how many processes were found. */
int sweep(void);

/* ---- finish.c: the end record ---- */

/* The last act. A disk that refuses the record is asked again; a folder that was removed has nobody who waits. */
void finish(void);
void fail_start(int step, int error);
/* An earlier shim died: ends what is left of its job, without ever touching a process that is not of it. */
void bury_job(const struct started_record *started);

/* ---- attempt.c ---- */

void tell(int64_t now_us, bool at_once);

#endif
