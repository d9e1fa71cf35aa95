// The child borrows this process's memory until it has become another program (CLONE_VM | CLONE_VFORK), so that a
// start costs the same however large the agent is; fork would copy its page tables. Only the calling thread waits,
// for the time of the exec. The child may therefore use nothing but system calls and its own stack: no allocation,
// no lock, nothing of Node's.
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_SIZE = 64 << 10, MAX_CHILDREN = 1 << 16, SIGNALS = 64, SIGNAL_SET_BYTES = SIGNALS / 8 };

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_rt_sigprocmask
#error "needs rt_sigprocmask"
#endif

struct start {
  const char *path;
  char *const *argv;
  char *const *environment;
  int error;
};

// Kernels before 5.9 have no close_range: then by the list of open descriptors, read with plain system calls.
static void close_all_from(int first) {
  if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0) return;
  struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
  };
  _Alignas(struct entry) char memory[2048];
  int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    for (int fd = first; fd < 65536; fd++) close(fd);
    return;
  }
  // Closing changes the list that is being read: read it again until a pass closes nothing.
  for (bool closed = true; closed;) {
    closed = false;
    lseek(folder, 0, SEEK_SET);
    for (long got; (got = syscall(SYS_getdents64, folder, memory, sizeof memory)) > 0;) {
      for (long at = 0; at < got;) {
        const struct entry *entry = (const struct entry *)(memory + at);
        at += entry->length;
        int fd = 0;
        for (const char *c = entry->name; *c >= '0' && *c <= '9'; c++) fd = fd * 10 + (*c - '0');
        if (entry->name[0] < '0' || entry->name[0] > '9' || fd < first || fd == folder) continue;
        close(fd);
        closed = true;
      }
    }
  }
  close(folder);
}

// Ignored and handled signals alike go back to their default, then none is blocked. Errors are those of the two
// signals that nobody can change.
static void reset_signals(void) {
  struct {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
  } plain = {NULL, 0, NULL, 0};
  for (int signal = 1; signal <= SIGNALS; signal++)
    syscall(SYS_rt_sigaction, signal, &plain, NULL, (size_t)SIGNAL_SET_BYTES);
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, (size_t)SIGNAL_SET_BYTES);
}

__attribute__((no_sanitize_address)) static int become_program(void *argument) {
  struct start *start = argument;
  setsid();
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  bool ready = null >= 0;
  for (int fd = 0; ready && fd < 3; fd++) ready = null == fd ? fcntl(fd, F_SETFD, 0) == 0 : dup2(null, fd) == fd;
  if (ready) {
    close_all_from(3);
    reset_signals();
    execve(start->path, start->argv, start->environment);
  }
  start->error = errno;
  _exit(127);
}

// The children whose ends we collect; by their pids alone, since Node waits for its own.
static pthread_mutex_t children_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t *children;
static size_t child_count, child_capacity;
static size_t starting;  // places promised to starts in progress

// Room for one more child; under the lock.
static bool make_room(void) {
  if (child_count + starting < child_capacity) return true;
  if (child_capacity == MAX_CHILDREN) return false;
  size_t capacity = child_capacity == 0 ? 64 : child_capacity * 2;
  pid_t *larger = realloc(children, capacity * sizeof *larger);
  if (larger == NULL) return false;
  children = larger;
  child_capacity = capacity;
  return true;
}

static pid_t clone_child(struct start *start) {
  char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return -ENOMEM;
  // No handler of ours may run in the child, on the shared memory: block all signals, those of the C library too.
  uint64_t all = ~(uint64_t)0, before;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, (size_t)SIGNAL_SET_BYTES);
  pid_t pid = clone(become_program, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, start);
  int error = errno;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, (size_t)SIGNAL_SET_BYTES);
  munmap(stack, STACK_SIZE);
  return pid < 0 ? -error : pid;
}

int spawn_program(const char *path, char *const argv[], char *const environment[]) {
  struct start start = {path, argv, environment, 0};
  pthread_mutex_lock(&children_lock);
  bool has_room = make_room();
  if (has_room) starting++;
  pthread_mutex_unlock(&children_lock);
  if (!has_room) return -EAGAIN;
  // Without the lock: an exec from a slow file system must not hold up the reader, which collects ends.
  pid_t pid = clone_child(&start);
  if (pid > 0 && start.error != 0) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    pid = -start.error;
  }
  pthread_mutex_lock(&children_lock);
  starting--;
  if (pid > 0) children[child_count++] = pid;
  pthread_mutex_unlock(&children_lock);
  return pid;
}

int spawn_reap(void) {
  pthread_mutex_lock(&children_lock);
  siginfo_t ended;
  ended.si_pid = 0;
  // One call tells that no child of this process has ended at all, which is nearly always so.
  if (child_count > 0 && (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid != 0)) {
    for (size_t i = 0; i < child_count;) {
      pid_t got = waitpid(children[i], NULL, WNOHANG);
      bool is_gone = got > 0 || (got < 0 && errno == ECHILD);
      if (is_gone) children[i] = children[--child_count];
      else i++;
    }
  }
  int running = (int)child_count;
  pthread_mutex_unlock(&children_lock);
  return running;
}
