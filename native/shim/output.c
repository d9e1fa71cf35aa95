/*
 * Pipe to file, byte for byte, disk first. INVARIANT: a byte that was read is written before the next is read, so
 * at most one buffer per stream is ever in memory, and a full disk makes the job wait at its pipe instead of
 * losing bytes. A stream without output makes no file.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 * 1024, PIPE_BYTES = 1024 * 1024, RETRY_US = 200 * 1000 };

static char buffers[2][BUFFER_BYTES];

void stream_open(struct stream *stream, const char *name, int pipe_fd)
{
	*stream = (struct stream){ .name = name, .pipe_fd = pipe_fd, .file_fd = -1 };
}

bool stream_retry(struct stream *stream, int which, int64_t now_us)
{
	bool any = false;
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
	return any;
}

bool stream_pump(struct stream *stream, int which, int64_t now_us)
{
	ssize_t n = read(stream->pipe_fd, buffers[which], BUFFER_BYTES);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return false;
	if (n <= 0) {
		close(stream->pipe_fd);
		stream->pipe_fd = -1;
		return false;
	}
	if (n >= 65536 && !stream->grown_pipe) { /* a noisy job: fewer, larger steps; refused is fine */
		stream->grown_pipe = true;
		fcntl(stream->pipe_fd, F_SETPIPE_SZ, PIPE_BYTES);
	}
	stream->from = 0;
	stream->to = (size_t)n;
	return stream_retry(stream, which, now_us);
}

uint64_t stream_abandon(struct stream *stream)
{
	int waiting = 0;
	uint64_t lost = stream->to - stream->from;
	if (stream->pipe_fd >= 0) {
		if (ioctl(stream->pipe_fd, FIONREAD, &waiting) == 0) lost += (uint64_t)waiting;
		close(stream->pipe_fd);
	}
	stream->pipe_fd = -1;
	stream->from = stream->to = 0;
	return lost;
}
