// The tree is walked through descriptors: each folder is opened by its name in the one above it, never through a
// link, and its entries are unlinked relative to it. So nothing that a job left, and nothing that is exchanged while
// the walk runs, leads out of the tree. Neither depth nor breadth costs more than DEPTH_MAX descriptors: what lies
// deeper is moved up into the root of the tree and walked from there.
#include "remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// PASSES: over the tree, for what was made while it was read, by a process that the job left; a pass that moved
// folders up to the root calls for another, up to PASSES_MAX.
enum { DEPTH_MAX = 32, PASSES = 4, PASSES_MAX = 1 << 16 };

struct walk {
  int root;
  dev_t device;
  unsigned moved;
  int error;  // errno of the first thing that stays; 0 for none
};

static void note(struct walk *walk, int error) {
  if (walk->error == 0) walk->error = error;
}

// Opens a folder for reading and unlinking in it; one that its mode closes to its owner is opened up first.
static int open_folder(int parent, const char *name) {
  enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
  int fd = openat(parent, name, FLAGS);
  if (fd >= 0 || errno != EACCES) return fd;
  int handle = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (handle < 0) return -1;
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", handle);
  int error = chmod(path, 0700) == 0 ? 0 : errno;
  close(handle);
  if (error == 0) return openat(parent, name, FLAGS);
  errno = error;
  return -1;
}

// Moves a folder that lies too deep to a free name in the root, where this pass or the next finds it.
static bool move_up(struct walk *walk, int parent, const char *name) {
  char free_name[32];
  struct stat found;
  do snprintf(free_name, sizeof free_name, ".moved-%u", walk->moved++);
  while (fstatat(walk->root, free_name, &found, AT_SYMLINK_NOFOLLOW) == 0);
  return renameat(parent, name, walk->root, free_name) == 0;
}

static void empty_folder(struct walk *walk, int fd, int depth);

static void remove_folder(struct walk *walk, int parent, const char *name, int depth) {
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return;
  if (errno != ENOTEMPTY && errno != EEXIST) {
    note(walk, errno);
    return;
  }
  if (depth == DEPTH_MAX) {
    if (!move_up(walk, parent, name) && errno != ENOENT) note(walk, errno);
    return;
  }
  int fd = open_folder(parent, name);
  if (fd < 0) {
    if (errno != ENOENT) note(walk, errno);
    return;
  }
  empty_folder(walk, fd, depth);
  // One that is filled again meanwhile is left to the next pass.
  if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
    note(walk, errno);
}

// Takes the descriptor.
static void empty_folder(struct walk *walk, int fd, int depth) {
  struct stat folder;
  int error = fstat(fd, &folder) == 0 ? 0 : errno;
  if (error == 0 && folder.st_dev != walk->device) error = EXDEV;  // mounted by somebody: not ours to empty
  DIR *entries = error == 0 ? fdopendir(fd) : NULL;
  if (entries == NULL) {
    note(walk, error == 0 ? errno : error);
    close(fd);
    return;
  }
  if ((folder.st_mode & 0700) != 0700 && fchmod(fd, 0700) != 0) note(walk, errno);
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (entry->d_type != DT_DIR) {
      if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT) continue;
      if (errno != EISDIR) {
        note(walk, errno);
        continue;
      }
    }
    remove_folder(walk, fd, entry->d_name, depth + 1);
  }
  closedir(entries);
}

static bool is_gone(const char *path, int (*remove_it)(const char *)) { return remove_it(path) == 0 || errno == ENOENT; }

int remove_tree(const char *path) {
  int root = open_folder(AT_FDCWD, path);
  if (root < 0 && (errno == ENOTDIR || errno == ELOOP)) return is_gone(path, unlink) ? 0 : -errno;
  if (root < 0) return errno == ENOENT ? 0 : -errno;
  struct stat folder;
  struct walk walk = {root, 0, 0, 0};
  if (fstat(root, &folder) != 0) note(&walk, errno);
  else walk.device = folder.st_dev;
  bool done = false;
  for (int pass = 0, fruitless = 0; !done && walk.error == 0 && fruitless < PASSES && pass < PASSES_MAX; pass++) {
    unsigned moved = walk.moved;
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) empty_folder(&walk, fd, 0);
    else note(&walk, errno);
    done = is_gone(path, rmdir);
    if (!done && errno != ENOTEMPTY && errno != EEXIST) note(&walk, errno);
    if (walk.moved == moved) fruitless++;
  }
  close(root);
  if (done) return 0;
  return walk.error != 0 ? -walk.error : -ENOTEMPTY;
}
