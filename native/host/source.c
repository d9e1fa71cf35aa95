// Files and folders of the pseudo file systems: kept-open descriptors, whole reads, listings.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"

void source_open(struct source *source, int root, const char *path) {
  // O_NONBLOCK: a FIFO in a copied tree must not hang the thread. A root that is missing answers ENOENT.
  source->fd = root < 0 ? -1 : openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  source->error = root < 0 ? ENOENT : source->fd < 0 ? errno : 0;
}

void source_close(struct source *source) {
  if (source->fd >= 0) close(source->fd);
  source->fd = -1;
}

void source_retry(struct source *source, int root, const char *path) {
  if (source->fd < 0) source_open(source, root, path);
}

// Hot: every tick.
struct text source_read(struct source *source, const struct roots *roots) {
  if (source->fd < 0) return (struct text){NULL, NULL};
  size_t length = 0;
  // The kernel hands out some files a page at a time, so only an empty read is the end.
  while (length < roots->scratch_size) {
    ssize_t got = pread(source->fd, roots->scratch + length, roots->scratch_size - length, (off_t)length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      source->error = errno;
      return (struct text){NULL, NULL};
    }
    if (got == 0) break;
    length += (size_t)got;
  }
  source->error = 0;
  if (length == roots->scratch_size)
    while (length > 0 && roots->scratch[length - 1] != '\n') length--;
  return (struct text){roots->scratch, roots->scratch + length};
}

static ssize_t read_start(int fd, char *memory, size_t size) {
  ssize_t got;
  do got = pread(fd, memory, size, 0);
  while (got < 0 && errno == EINTR);
  return got;
}

bool source_number(struct source *source, double *value) {
  if (source->fd < 0) return false;
  char memory[64];
  ssize_t got = read_start(source->fd, memory, sizeof memory);
  if (got < 0) {
    source->error = errno;
    return false;
  }
  struct text text = {memory, memory + got};
  // A text that is no number is a fault of the source, not a missing feature.
  source->error = text_decimal(&text, value) ? 0 : EBADMSG;
  return source->error == 0;
}

struct text file_text(int root, const char *path, char *memory, size_t size, int *error) {
  struct source source;
  source_open(&source, root, path);
  ssize_t got = source.fd < 0 ? -1 : read_start(source.fd, memory, size);
  *error = source.fd < 0 ? source.error : got < 0 ? errno : 0;
  source_close(&source);
  return got < 0 ? (struct text){NULL, NULL} : (struct text){memory, memory + got};
}

bool file_exists(int root, const char *path) { return root >= 0 && faccessat(root, path, F_OK, 0) == 0; }

static int by_natural_order(const void *a, const void *b) { return strverscmp(a, b); }

size_t folder_names(int root, const char *path, const char *prefix, char (*names)[NAME_SIZE], size_t capacity) {
  int fd = root < 0 ? -1 : openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return 0;
  DIR *folder = fdopendir(fd);
  if (folder == NULL) {
    close(fd);
    return 0;
  }
  size_t count = 0;
  for (struct dirent *entry = readdir(folder); entry != NULL && count < capacity; entry = readdir(folder)) {
    if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
    if (strlen(entry->d_name) >= NAME_SIZE) continue;
    memcpy(names[count++], entry->d_name, strlen(entry->d_name) + 1);
  }
  closedir(folder);
  qsort(names, count, NAME_SIZE, by_natural_order);
  return count;
}

bool link_base(int root, const char *path, char *name, size_t size) {
  char target[4096];
  ssize_t length = root < 0 ? -1 : readlinkat(root, path, target, sizeof target);
  if (length <= 0 || (size_t)length == sizeof target) return false;
  const char *start = memrchr(target, '/', (size_t)length);
  start = start == NULL ? target : start + 1;
  text_label(name, size, (struct text){start, target + length});
  return name[0] != '\0';
}

uint64_t hash_text(uint64_t hash, const char *text) {
  // FNV-1a, the end of the text included, so that "ab","c" and "a","bc" differ.
  for (;; text++) {
    hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    if (*text == '\0') return hash;
  }
}
