/* The parts of the job shim and what they share. The state machine and all formats are described in shim.c. */
#ifndef FLOPD_SHIM_H
#define FLOPD_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { EXIT_HELD = 0, EXIT_USAGE = 2, EXIT_FOLDER = 3 };

/* ---- attempt.c, nest.c, init.c: what the shim does; all return an exit code ---- */

int attempt_run(const char *folder, const char *boot_id);
int nest_run(const char *folder, char **argv, int argc);
int init_run(void);

/* ---- spec.c: what the agent ordered ---- */

struct cgroup_plan {
	const char *folder;
	int version;               /* 1 or 2 */
	const char *controllers;   /* by commas */
	char **settings;           /* file, value, file, value, …, NULL */
};

struct after_command {
	int64_t timeout_ms;
	const char *output;        /* a file of the folder; empty to drop it */
	char **argv, **envp;
};

enum { CGROUPS_MAX = 8, AFTER_MAX = 16, GROUPS_MAX = 64 };

struct spec {
	const char *name;          /* <jobId>.<epoch>, said in every hello */
	const char *announce;      /* the agent's socket, relative to the folder; empty for none */
	const char *cwd;
	char **argv, **envp;
	int64_t time_limit_ms;     /* this and the following: -1 for none */
	int64_t quota_bytes, lease_ms, checkpoint_before_ms;
	int64_t grace_ms;
	int checkpoint_signal;
	char **beside, **beside_terminal; /* of a client of what holds the job: what runs a command beside it; else NULL */
	bool has_user;
	uid_t uid;
	gid_t gid, groups[GROUPS_MAX];
	size_t group_count;
	char **wrap;               /* NULL for no sandbox */
	bool filtered;             /* system calls that no job needs are refused (filter.c) */
	char **rlimits;            /* name, value, …, NULL; NULL for none */
	struct cgroup_plan cgroups[CGROUPS_MAX];
	size_t cgroup_count;
	struct after_command after[AFTER_MAX];
	size_t after_count;
};

/* Reads an order from an open file. Returns 0 or an errno; EBADMSG for one that is torn or foreign. */
int spec_read(struct spec *spec, int fd);

/* Strings that a peer or a file lists, one after the other; `bad` once anything was missing. */
struct cursor {
	char *at, *end;
	bool bad;
};

char *cursor_text(struct cursor *cursor);
/* Returns `absent` for an empty string. */
int64_t cursor_number(struct cursor *cursor, int64_t absent);
/* Reads so many strings into a new list that ends with NULL; its pieces belong to the cursor's memory. */
char **cursor_list(struct cursor *cursor, int64_t count);

/* ---- record.c: small files that are written once ---- */

struct gap {
	const char *stream, *reason; /* stdout, stderr; quota, disk */
	uint64_t from, to;         /* offsets in what the job wrote */
};

enum { GAPS_MAX = 4, REFUSALS_MAX = 16, REFUSAL_BYTES_MAX = 96 };

struct end_record {
	const char *kind;          /* exited, signalled, failedToStart, lost */
	int exit_code, signal;     /* -1 for none */
	const char *stopped;       /* timeLimit, lease, stop, or empty */
	bool killed;
	const char *failed_step;   /* empty for none */
	int error;                 /* errno of the failed step, 0 for none */
	int64_t started_ms;        /* wall clock, -1 when the program never ran */
	int64_t ended_ms;
	int64_t duration_us;       /* monotonic, -1 unknown */
	int64_t user_us, system_us, max_rss_bytes; /* -1 unknown */
	int64_t memory_peak_bytes, processes_peak; /* by the control groups; -1 unknown */
	int64_t oom_kills, oom_ms; /* -1 unknown; wall clock when the first was noticed, -1 unknown */
	int64_t checkpoint_ms;     /* wall clock, -1 when it was not sent */
	uint64_t stdout_bytes, stderr_bytes; /* kept */
	struct gap gaps[GAPS_MAX];
	int gap_count;
	int output_error;          /* errno of the last failed write of output, 0 for none */
	int survivors;             /* processes that SIGKILL could not end in time */
	char refusals[REFUSALS_MAX][REFUSAL_BYTES_MAX]; /* "WHAT ERRNO" */
	int refusal_count;
	char detail[512];          /* a clause for people; empty for none */
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
/* Makes the same record in memory, for a disk that refuses it. Returns the descriptor of it, or -1. */
int record_end_offer(const struct end_record *end);
/* Claims this attempt for the calling process: creates `started` in `folder`. Returns 0 or an errno, EEXIST when taken. */
int record_started(int folder, const char *boot_id, pid_t shim, int64_t wall_ms);
/* Returns 0, ENOENT or another errno; `complete` is false for one that was cut off while it was written. */
int record_read_started(struct started_record *record);
/* Notes that the kernel refused `what` of the plan, once; `error` 0: took it, and had something else at the end. */
void record_refusal(struct end_record *end, const char *what, int error);

int64_t wall_ms(void);
int64_t monotonic_us(void);

/* ---- channel.c: what the processes between fork and exec tell the shim ---- */

enum child_step { STEP_NONE, STEP_CLAIM, STEP_SETUP, STEP_CHDIR, STEP_RECORD, STEP_EXEC, STEP_INTERPRETER, STEP_FORK,
	STEP_USER, STEP_SANDBOX, STEP_REQUEST, STEP_ENTER };

struct child_failure {
	int step;                  /* enum child_step */
	int error;
};

struct message {
	enum { MESSAGE_FAILED = 1, MESSAGE_REFUSED, MESSAGE_JOB, MESSAGE_INIT, MESSAGE_RUNNING, MESSAGE_ENDED } kind;
	struct child_failure failure;
	int status;                /* ENDED: as wait(2) gives it */
	char what[REFUSAL_BYTES_MAX]; /* REFUSED, with failure.error */
};

const char *step_name(int step);
/* A pair of connected sockets. `ends[0]` learns the sender of each message by its number here. 0 or -1. */
int channel_open(int ends[2]);
void channel_say(int fd, int kind, int error);
_Noreturn void channel_fail(int fd, int step, int error);
void channel_refuse(int fd, const char *what, int error);
/* Returns 1 for a message, 0 at the end, -1 when there is none now. */
int channel_take(int fd, struct message *message, pid_t *sender);

/* ---- child.c, execute.c, user.c: from fork to exec ---- */

struct child_place {
	int folder;                /* of the attempt */
	int spec_fd, exe_fd;       /* for the process inside a sandbox */
	const char *boot_id;
	int64_t wall_ms;           /* the start, as it will be told */
	int out_fd, err_fd, words_fd, channel_fd;
};

/* Forks the job. Never returns in the child. Returns its pid or -1 with errno. */
pid_t child_start(const struct spec *spec, const struct child_place *place);
/* Becomes the program; returns only when that failed. A bare name is looked up along PATH of `envp`. */
struct child_failure execute(char **argv, char **envp);
/* No better treatment by the kernel than others get. */
void lower_standing(void);
/* Default signals and an empty mask. */
void clear_signals(void);
/* Sets limits of the plan and tells the shim of each that is refused. `late`: those that count what others have. */
void set_rlimits(const struct spec *spec, bool late, int channel_fd);
/* filter.c: holds the calling process and all that it becomes to the filter of the order. Returns 0 or an errno. */
int filter_calls(const struct spec *spec);
/* Becomes the job's user, if it has one, and gives up every privilege for ever. Returns 0 or an errno. */
int become_user(const struct spec *spec, bool drop_capabilities);
/* Leaves the session keyring that this process was started with: all jobs would share the keys in it. */
void leave_keyring(void);
/* As the job's user: removes the keys that an earlier job of the same id has left, since the kernel keeps them. */
void clear_keyring(const struct spec *spec);
/* Makes the workspace and the meter file the user's. Returns 0 or an errno. */
int give_to_user(int folder, const struct spec *spec);

/* ---- tree.c: every process of the job ---- */

struct tree_marker {
	const char *entries[3];    /* environment entries that only this attempt's processes carry, NULL if unknown */
	pid_t pid;                 /* and the main process itself, by its start time */
	uint64_t start_time;
};

/* Processes that a signal passes over. */
struct tree_spared {
	pid_t group;               /* all of this process group; 0 for none */
	pid_t pids[2];             /* 0 for none */
};

/* From now on the groups of this order are asked for the tree, as long as `child` is in one. */
void tree_follow(const struct spec *spec, pid_t child);
/* Field 22 of /proc/PID/stat, or 0. */
uint64_t tree_start_time(pid_t pid);
/*
 * Signals every living process of the tree but those spared; SIGTERM is followed by SIGCONT. With `marker` also what the descendants of the caller
 * do not show: orphans of an earlier shim. Returns how many were found.
 */
int tree_signal(int sig, const struct tree_spared *spared, const struct tree_marker *marker);

/* ---- cgroup.c, counters.c ---- */

/* Makes the groups of the plan and writes their settings; what is refused is noted. */
void cgroup_make(const struct spec *spec, struct end_record *end);
/* Reads the settings back at the end of the job: those that no longer hold, or whose files are gone, are noted too. */
void cgroup_verify(const struct spec *spec, struct end_record *end);
/* Forks, into one of the groups where the kernel can do that: `joined` is its number, or CGROUPS_MAX. */
pid_t cgroup_fork(const struct spec *spec, size_t *joined);
/* Puts the calling process, of one thread, into the others; tells the channel what is refused. */
void cgroup_join(const struct spec *spec, size_t joined, int channel_fd);
/* No process of the job can be made any more, where the plan limits their number. */
void cgroup_close(const struct spec *spec);
/* Kills what is in them. Returns how many processes were found. */
int cgroup_kill(const struct spec *spec);
/* The processes of the first group that has `member`; 0 when there is none, or too many. `room`: at least 4096. */
size_t cgroup_list(const struct spec *spec, pid_t member, pid_t *pids, size_t room);
/* Removes the empty groups. Returns false while one is still there. */
bool cgroup_remove(const struct spec *spec);

/* Watches for processes killed for their memory. Returns a descriptor that becomes readable, or -1: ask now and then. */
int counters_watch(const struct spec *spec);
/* True where there is something to ask for. */
bool counters_can_oom(const struct spec *spec);
/* Reads what the kernel counted into the record; the first call that sees a kill notes the time. */
void counters_read_oom(const struct spec *spec, struct end_record *end);
/* Peaks and CPU time, just before the groups are removed. */
void counters_read(const struct spec *spec, struct end_record *end);
/* `file` of the group's folder, without following links. Returns its size or -1. */
ssize_t cgroup_read(const struct cgroup_plan *plan, const char *file, char *into, size_t size);
bool cgroup_has(const struct cgroup_plan *plan, const char *controller);

/* ---- output.c: pipe to file ---- */

struct stream {
	const char *name;
	int pipe_fd;               /* -1 after its end */
	int file_fd;               /* -1 until the first byte */
	int64_t quota_bytes;       /* -1 for none */
	uint64_t bytes;            /* on disk */
	uint64_t dropped;          /* read after the quota was full; its end is in `tail` */
	char *tail;                /* ring of TAIL_BYTES */
	size_t from, to;           /* what is read and not yet written */
	uint64_t gap_from, gap_to, lost; /* set by stream_abandon */
	int error;                 /* errno of the write that failed last */
	int64_t retry_us;          /* when to try it again; 0 while all is well */
	bool grown_pipe, tail_taken;
};

void stream_open(struct stream *stream, const char *name, int pipe_fd, int64_t quota_bytes);
/* Moves one buffer. Returns true when bytes reached the file. */
bool stream_pump(struct stream *stream, int which, int64_t now_us);
/* Writes what a failed write left, and after the end of the pipe the kept tail. Returns true when bytes reached the file. */
bool stream_retry(struct stream *stream, int which, int64_t now_us);
/* Closes a pipe that someone outside the tree still holds; the kept tail is written. */
void stream_finish(struct stream *stream, int which, int64_t now_us);
/* Nothing of it is read or written any more; notes what will never be on disk. */
void stream_abandon(struct stream *stream);
/* Adds its gaps to the record. */
void stream_gaps(const struct stream *stream, struct end_record *end);

/* ---- control.c: the agents that listen ---- */

enum { CLIENTS_MAX = 4, ENTRY_NAME_BYTES_MAX = 64 };

struct command {
	enum { COMMAND_NONE, COMMAND_STOP, COMMAND_SIGNAL, COMMAND_LEASE, COMMAND_ENTER } kind;
	int64_t value;
	char name[ENTRY_NAME_BYTES_MAX + 1];
};

struct control_state {
	const char *name;
	bool started;
	pid_t pid;
	int64_t started_ms;
	uint64_t stdout_bytes, stderr_bytes;
	int offered_fd; /* of the end record in memory; 0 for none */
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

/* ---- enter.c: commands beside the job ---- */

/* Forks the process that serves the socket `name` of the folder. `pid`: the job's main process. */
void enter_start(const struct spec *spec, const char *name, pid_t pid);
/* A child of the shim was collected: it may have been such a process. */
void enter_forget(pid_t server);

/* ---- after.c: commands that come after the job ---- */

/* Starts the next one. Returns its pid, or 0 when there is none left. */
pid_t after_start(const struct spec *spec, int folder, int64_t now_us);
/* When the one that runs is killed; 0 for none. */
int64_t after_deadline_us(void);
/* Runs them all and waits for each. */
void after_run_all(const struct spec *spec, int folder);

#endif
