/*
 * Pipe to file, byte for byte, disk first. INVARIANT: a byte that was read is written before the next is read, so
 * at most one buffer per stream is ever in memory, and a full disk makes the job wait at its pipe instead of
 * losing bytes. A stream without output makes no file.
 * Beyond its quota a stream is read and dropped, so that the job never waits; the last TAIL_BYTES are kept in memory
 * and follow at the end, and what is missing between is told as a gap. Dropping costs next to nothing: but for those
 * last bytes the pages of the pipe are thrown away unread.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 * 1024, TAIL_BYTES = 64 * 1024, PIPE_BYTES = 1024 * 1024, RETRY_US = 200 * 1000 };

static char buffers[2][BUFFER_BYTES];

void stream_open(struct stream *stream, const char *name, int pipe_fd, int64_t quota_bytes)
{
	*stream = (struct stream){ .name = name, .pipe_fd = pipe_fd, .file_fd = -1, .quota_bytes = quota_bytes };
}

static void keep_tail(struct stream *stream, const char *bytes, size_t size)
{
	if (stream->tail == NULL) stream->tail = malloc(TAIL_BYTES);
	for (size_t done = 0; stream->tail != NULL && done < size;) {
		size_t at = (size_t)((stream->dropped + done) % TAIL_BYTES);
		size_t part = TAIL_BYTES - at < size - done ? TAIL_BYTES - at : size - done;
		memcpy(stream->tail + at, bytes + done, part);
		done += part;
	}
	stream->dropped += size;
}

/* Brings the kept tail into the stream's buffer, once nothing more will be read. */
static void take_tail(struct stream *stream, int which)
{
	if (stream->tail_taken || stream->dropped == 0 || stream->tail == NULL) return;
	size_t size = stream->dropped < TAIL_BYTES ? (size_t)stream->dropped : TAIL_BYTES;
	size_t at = stream->dropped < TAIL_BYTES ? 0 : (size_t)(stream->dropped % TAIL_BYTES);
	memcpy(buffers[which], stream->tail + at, size - at);
	memcpy(buffers[which] + size - at, stream->tail, at);
	free(stream->tail);
	stream->tail = NULL;
	stream->tail_taken = true;
	stream->from = 0;
	stream->to = size;
	stream->gap_from = stream->bytes;
	stream->gap_to = stream->bytes + stream->dropped - size;
}

bool stream_retry(struct stream *stream, int which, int64_t now_us)
{
	bool any = false;
	for (;;) {
		if (stream->file_fd < 0)
			stream->file_fd = open(stream->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		int error = stream->file_fd < 0 ? errno : 0;
		while (error == 0 && stream->from < stream->to) {
			ssize_t n = pwrite(stream->file_fd, buffers[which] + stream->from, stream->to - stream->from,
				(off_t)stream->bytes);
			if (n < 0 && errno == EINTR) continue;
			if (n <= 0) {
				error = n < 0 ? errno : ENOSPC;
				break;
			}
			stream->from += (size_t)n;
			stream->bytes += (uint64_t)n;
			any = true;
		}
		if (error != 0) stream->error = error;
		stream->retry_us = error == 0 ? 0 : now_us + RETRY_US;
		if (error != 0 || stream->pipe_fd >= 0 || stream->tail == NULL) return any;
		take_tail(stream, which);
	}
}

/* Throws away what lies in the pipe, but for its end, which is kept. */
static void drop(struct stream *stream)
{
	static int null_fd = -1;
	int waiting = 0;
	if (null_fd < 0) null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (ioctl(stream->pipe_fd, FIONREAD, &waiting) < 0) waiting = 0;
	while (null_fd >= 0 && waiting > TAIL_BYTES) {
		ssize_t n = splice(stream->pipe_fd, NULL, null_fd, NULL, (size_t)(waiting - TAIL_BYTES), SPLICE_F_NONBLOCK);
		if (n <= 0) break;
		stream->dropped += (uint64_t)n;
		waiting -= (int)n;
	}
}

bool stream_pump(struct stream *stream, int which, int64_t now_us)
{
	char *buffer = buffers[which];
	bool full = stream->quota_bytes >= 0 && stream->bytes >= (uint64_t)stream->quota_bytes;
	if (full) drop(stream);
	ssize_t n = read(stream->pipe_fd, buffer, BUFFER_BYTES);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return false;
	if (n <= 0) {
		close(stream->pipe_fd);
		stream->pipe_fd = -1;
		return stream->tail == NULL ? false : stream_retry(stream, which, now_us);
	}
	if (n >= 65536 && !stream->grown_pipe) { /* a noisy job: fewer, larger steps; refused is fine */
		stream->grown_pipe = true;
		fcntl(stream->pipe_fd, F_SETPIPE_SZ, PIPE_BYTES);
	}
	size_t size = (size_t)n, room = size;
	if (full) room = 0;
	else if (stream->quota_bytes >= 0 && (uint64_t)stream->quota_bytes - stream->bytes < size)
		room = (size_t)((uint64_t)stream->quota_bytes - stream->bytes);
	if (room < size) keep_tail(stream, buffer + room, size - room);
	if (room == 0) return false;
	stream->from = 0;
	stream->to = room;
	return stream_retry(stream, which, now_us);
}

void stream_finish(struct stream *stream, int which, int64_t now_us)
{
	int waiting = 0;
	if (stream->pipe_fd < 0) return;
	if (ioctl(stream->pipe_fd, FIONREAD, &waiting) == 0) stream->lost += (uint64_t)waiting;
	close(stream->pipe_fd);
	stream->pipe_fd = -1;
	if (stream->tail != NULL) stream_retry(stream, which, now_us);
}

void stream_abandon(struct stream *stream)
{
	uint64_t unwritten = stream->to - stream->from;
	int waiting = 0;
	if (stream->pipe_fd >= 0) {
		if (ioctl(stream->pipe_fd, FIONREAD, &waiting) == 0) stream->lost += (uint64_t)waiting;
		close(stream->pipe_fd);
		stream->pipe_fd = -1;
	}
	stream->lost += unwritten;
	if (!stream->tail_taken) stream->lost += stream->dropped; /* the disk did not even take what came before */
	free(stream->tail);
	stream->tail = NULL;
	stream->from = stream->to = 0;
}

void stream_gaps(const struct stream *stream, struct end_record *end)
{
	uint64_t left_out = stream->gap_to - stream->gap_from, at = stream->bytes + left_out;
	if (left_out > 0 && end->gap_count < GAPS_MAX)
		end->gaps[end->gap_count++] = (struct gap){ stream->name, "quota", stream->gap_from, stream->gap_to };
	if (stream->lost > 0 && end->gap_count < GAPS_MAX)
		end->gaps[end->gap_count++] = (struct gap){ stream->name, "disk", at, at + stream->lost };
}
