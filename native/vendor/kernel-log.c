// Follows /dev/kmsg: every read is one message, and what is overwritten before it was read is told by EPIPE and lost.
// A file or FIFO in its place (tests) is read as lines; a file is asked for more every tenth of a second.
//
// A flood costs at most MAX_READS reads per REST_MS: then the thread rests, and the kernel overwrites what is too much.
#include "kernel-log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINE = 8192, MAX_READS = 2000, REST_MS = 100 };

struct kernel_log {
  int fd;
  int stop;        // an eventfd
  size_t length;   // of the line that is not complete
  bool is_cut;     // the rest of a line that is too long is left out
  bool is_polled;  // poll() says when there is more
  char line[MAX_LINE];
};

// `6,1234,56789,-,caller=T1;`: the number before the first comma has the facility above its three lowest bits.
static bool take_prefix(struct text *line, bool *is_kernel) {
  struct text t = *line;
  uint64_t priority;
  if (!text_digits(&t, &priority) || !text_take(&t, ",")) return false;
  const char *end = memchr(t.at, ';', text_length(t));
  if (end == NULL) return false;
  line->at = end + 1;
  *is_kernel = priority >> 3 == 0;
  return true;
}

bool kernel_message(struct text line, struct text *message) {
  bool is_kernel = true;
  // Properties of the message before stand on lines that begin with a blank.
  if (line.at < line.end && text_is_blank(*line.at)) return false;
  if (!take_prefix(&line, &is_kernel) && line.at < line.end && *line.at == '[') {
    const char *end = memchr(line.at, ']', text_length(line));
    if (end == NULL) return false;
    line.at = end + 1;
    text_skip_blanks(&line);
  }
  while (line.end > line.at && text_is_blank(line.end[-1])) line.end--;
  *message = line;
  return is_kernel;
}

struct kernel_log *kernel_log_open(const char *path) {
  struct kernel_log *log = calloc(1, sizeof *log);
  if (log == NULL) return NULL;
  struct stat status;
  log->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  log->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (log->fd < 0 || log->stop < 0 || fstat(log->fd, &status) != 0 || S_ISDIR(status.st_mode)) {
    kernel_log_close(log);
    return NULL;
  }
  // A FIFO has no end to go to.
  lseek(log->fd, 0, SEEK_END);
  log->is_polled = !S_ISREG(status.st_mode);
  return log;
}

void kernel_log_close(struct kernel_log *log) {
  if (log->fd >= 0) close(log->fd);
  if (log->stop >= 0) close(log->stop);
  free(log);
}

void kernel_log_stop(struct kernel_log *log) { eventfd_write(log->stop, 1); }

static void take_line(struct text line, void (*found)(void *, const struct vendor_event *), void *context) {
  struct text message;
  struct vendor_event event;
  if (!kernel_message(line, &message)) return;
  for (size_t i = 0; kernel_lines[i] != NULL; i++)
    if (kernel_lines[i](message, &event)) {
      found(context, &event);
      return;
    }
}

// Hands on the whole lines of what stands in memory, and keeps the rest.
static void take_lines(struct kernel_log *log, void (*found)(void *, const struct vendor_event *), void *context) {
  struct text all = {log->line, log->line + log->length};
  for (char *newline; (newline = memchr(all.at, '\n', text_length(all))) != NULL; all.at = newline + 1) {
    if (!log->is_cut) take_line((struct text){all.at, newline}, found, context);
    log->is_cut = false;
  }
  log->length = text_length(all);
  memmove(log->line, all.at, log->length);
  if (log->length < MAX_LINE) return;
  log->is_cut = true;
  log->length = 0;
}

enum more { MORE, NO_MORE, AT_END };

static enum more read_more(struct kernel_log *log, void (*found)(void *, const struct vendor_event *), void *context) {
  ssize_t got = read(log->fd, log->line + log->length, MAX_LINE - log->length);
  if (got > 0) {
    log->length += (size_t)got;
    take_lines(log, found, context);
    return MORE;
  }
  if (got == 0) return AT_END;
  if (errno == EPIPE || errno == EINTR) return MORE;
  return errno == EAGAIN ? NO_MORE : AT_END;
}

void kernel_log_follow(struct kernel_log *log, void (*found)(void *context, const struct vendor_event *event),
                       void *context) {
  struct pollfd polled[] = {{.fd = log->stop, .events = POLLIN}, {.fd = log->fd, .events = POLLIN}};
  for (;;) {
    enum more more = MORE;
    for (int reads = 0; more == MORE && reads < MAX_READS; reads++) more = read_more(log, found, context);
    // Only a descriptor that had nothing more can be waited for; the others (a flood, a file's end, a FIFO without a
    // writer, an error) are asked again after a rest.
    bool can_wait = more == NO_MORE && log->is_polled;
    int ready = poll(polled, can_wait ? 2 : 1, can_wait ? -1 : REST_MS);
    if (ready < 0 && errno != EINTR) return;
    if (ready > 0 && polled[0].revents != 0) return;
  }
}
