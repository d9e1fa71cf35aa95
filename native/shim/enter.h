/* A command beside the job: what enter.c and relay.c share. The wire format is in shim.c. */
#ifndef FLOPD_SHIM_ENTER_H
#define FLOPD_SHIM_ENTER_H

#include "shim.h"

enum { FRAME_HEAD_BYTES = 5, FRAME_BYTES_MAX = 65536 };

struct entry {
	int socket;
	pid_t command;             /* leader of its group; collected as the last act */
	int in, out, err;          /* our ends of its pipes, or all three the pty; -1 when closed */
	bool pty;
};

/* Reads one whole frame into `frame`, waiting at most `timeout_ms`. Returns the size of its payload or -1. */
ssize_t relay_read_frame(int socket, char *kind, char *payload, int timeout_ms);
/* The last word, when there is no command. */
void relay_refuse(int socket, int step, int error);
/*
 * After the last word: waits until the agent has closed, for some seconds at most, and forgets what it still sends. If
 * we closed first, a late frame of the agent would break its connection before it has read how the command ended.
 */
void relay_linger(int socket);
/* Carries bytes to and fro until the command has ended and that was told, or the agent has gone. */
void relay_run(struct entry *entry);

#endif
