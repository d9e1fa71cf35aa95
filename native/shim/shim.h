/* The parts of the job shim and what they share. The state machine and all formats are described in shim.c. */
#ifndef FLOPD_SHIM_H
#define FLOPD_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { EXIT_HELD = 0, EXIT_USAGE = 2, EXIT_FOLDER = 3 };

/* ---- attempt.c, nest.c: what the shim does; both return an exit code ---- */

int attempt_run(const char *folder, const char *boot_id);
int nest_run(const char *folder, char **argv, int argc);

/* ---- spec.c: what the agent ordered ---- */

struct spec {
	const char *name;          /* <jobId>.<epoch>, said in every hello */
	const char *announce;      /* the agent's socket, relative to the folder; empty for none */
	int64_t time_limit_ms;     /* -1 for none */
	int64_t grace_ms;
	const char *cwd;
	char **argv;
	char **envp;
};

/* Reads the file `spec` of the current folder. Returns 0 or an errno; EBADMSG for one that is torn or foreign. */
int spec_read(struct spec *spec);

/* ---- record.c: small files that are written once ---- */

struct end_record {
	const char *kind;          /* exited, signalled, failedToStart, lost */
	int exit_code, signal;     /* -1 for none */
	const char *stopped;       /* timeLimit, stop, or empty */
	bool killed;
	const char *failed_step;   /* empty for none */
	int error;                 /* errno of the failed step, 0 for none */
	int64_t started_ms;        /* wall clock, -1 when the program never ran */
	int64_t ended_ms;
	int64_t duration_us;       /* monotonic, -1 unknown */
	int64_t user_us, system_us, max_rss_bytes; /* -1 unknown */
	uint64_t stdout_bytes, stderr_bytes;
	uint64_t lost_output_bytes;
	int output_error;          /* errno of the last failed write of output, 0 for none */
	int survivors;             /* processes that SIGKILL could not end in time */
	const char *detail;        /* why it is lost, a clause for people; empty for none */
};

struct started_record {
	pid_t pid;
	uint64_t start_time;       /* field 22 of /proc/PID/stat, clock ticks since boot */
	char boot_id[64];
	int64_t wall_ms;
	bool complete;
};

/* Sets disk space for the end record aside, so that a full disk cannot keep it out. Failure is no error. */
void record_reserve_end(void);
/* Writes `end` beside its place and renames it. Returns 0 or an errno. */
int record_end(const struct end_record *end);
/* Claims this attempt for the calling process: creates `started` in `folder`. Returns 0 or an errno, EEXIST when taken. */
int record_started(int folder, const char *boot_id, pid_t shim, int64_t wall_ms);
/* Returns 0, ENOENT or another errno; `complete` is false for one that was cut off while it was written. */
int record_read_started(struct started_record *record);

int64_t wall_ms(void);
int64_t monotonic_us(void);

/* ---- child.c: from fork to exec ---- */

enum child_step { STEP_NONE, STEP_CLAIM, STEP_SETUP, STEP_CHDIR, STEP_RECORD, STEP_EXEC, STEP_INTERPRETER, STEP_FORK };

struct child_failure {
	int step;                  /* enum child_step */
	int error;
};

struct child_place {
	int folder;                /* of the attempt */
	const char *boot_id;
	int64_t wall_ms;           /* the start, as it will be told */
	int out_fd, err_fd, status_fd;
};

const char *child_step_name(int step);
/* Forks the job. Never returns in the child. Returns its pid or -1 with errno. */
pid_t child_start(const struct spec *spec, const struct child_place *place);

/* ---- tree.c: every process of the job ---- */

struct tree_marker {
	const char *entries[3];    /* `NAME=value`, NULL where the job had none */
	pid_t pid;                 /* the main process and its start time; 0 for none */
	uint64_t start_time;
};

/*
 * Sends `sig` to all descendants of this process but those in process group `group` (0 for none). With `marker` (three environment
 * entries) also to each process, and its descendants, that carries them. Returns how many were found alive.
 * Identity is checked again through a pidfd before each signal, so that a reused pid is never hit.
 */
int tree_signal(int sig, pid_t group, const struct tree_marker *marker);

/* Start time of a process, or 0 when it is gone. */
uint64_t tree_start_time(pid_t pid);

/* ---- output.c: pipe to file ---- */

struct stream {
	const char *name;
	int pipe_fd;               /* -1 after its end */
	int file_fd;               /* -1 until the first byte */
	uint64_t bytes;            /* on disk */
	size_t from, to;           /* what is read and not yet written */
	int error;                 /* errno of the write that failed last */
	int64_t retry_us;          /* when to try it again; 0 while all is well */
	bool grown_pipe;
};

void stream_open(struct stream *stream, const char *name, int pipe_fd);
/* Moves one buffer. Returns true when bytes reached the file. */
bool stream_pump(struct stream *stream, int which, int64_t now_us);
/* Writes what a failed write left. Returns true when bytes reached the file. */
bool stream_retry(struct stream *stream, int which, int64_t now_us);
/* Bytes that were written by the job and will never be on disk. */
uint64_t stream_abandon(struct stream *stream);

/* ---- control.c: the agents that listen ---- */

enum { CLIENTS_MAX = 4 };

struct command {
	enum { COMMAND_NONE, COMMAND_STOP, COMMAND_SIGNAL } kind;
	int64_t value;
};

struct control_state {
	const char *name;
	bool started;
	pid_t pid;
	int64_t started_ms;
	uint64_t stdout_bytes, stderr_bytes;
	bool ended;
};

/* Binds the socket `control`. Returns its descriptor or -1 with errno. */
int control_listen(void);
/* Says hello to the agent that waits at `path`. Returns 0, EAGAIN for another try later, or an errno. */
int control_announce(const char *path);
void control_accept(int listener);
/* Sends every client what it does not know yet; never waits. */
void control_send(const struct control_state *state);
/* Descriptor to poll for client `i`, or -1. `*events` gets POLLIN, and POLLOUT while something waits. */
int control_poll(int i, short *events);
/* Takes what client `i` sent; call again until COMMAND_NONE. */
struct command control_take(int i, short revents);

#endif
