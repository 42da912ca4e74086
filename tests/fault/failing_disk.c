// A disk that fails: preloaded into the program, it makes calls on files of the cache folder fail as told.
// FAILING_DISK names a file of four ints, shared with the test: which calls (bits), errno (0: none fails), how many to let pass
// first, which files (1: data, 2: the store, 3: both). Counts down with each call that matches.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kWrite = 1, kSync = 2, kLength = 4 };
static volatile int *control;

__attribute__((constructor)) static void begin(void) {
  const int fd = open(getenv("FAILING_DISK"), O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *at = mmap(0, 4 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) control = at;
  close(fd);
}

static int fails(int fd, int call) {
  if (!control || control[1] == 0 || (control[0] & call) == 0) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  const int file = strstr(path, "/data/") ? 1 : strstr(path, ".mdb") ? 2 : 0;
  if ((control[3] & file) == 0 || __sync_fetch_and_sub(&control[2], 1) > 0) return 0;
  errno = control[1];
  return 1;
}

#define FORWARD(type, name, call, parameters, arguments)                   \
  type name parameters {                                                    \
    static type(*real) parameters;                                          \
    if (!real) *(void **)(&real) = dlsym(RTLD_NEXT, #name);                 \
    return fails(fd, call) ? -1 : real arguments;                           \
  }
FORWARD(ssize_t, pwrite, kWrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
FORWARD(ssize_t, pwrite64, kWrite, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
FORWARD(ssize_t, pwritev, kWrite, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
FORWARD(ssize_t, pwritev64, kWrite, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
FORWARD(int, fdatasync, kSync, (int fd), (fd))
FORWARD(int, fsync, kSync, (int fd), (fd))
FORWARD(int, syncfs, kSync, (int fd), (fd))
FORWARD(int, ftruncate, kLength, (int fd, off_t o), (fd, o))
FORWARD(int, ftruncate64, kLength, (int fd, off64_t o), (fd, o))
FORWARD(int, fallocate, kLength, (int fd, int m, off_t o, off_t n), (fd, m, o, n))
FORWARD(int, fallocate64, kLength, (int fd, int m, off64_t o, off64_t n), (fd, m, o, n))
