#include "fuse/mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/log.h"

namespace s3cache::fuse {
namespace {

bool is_empty(const std::string& path) {
  DIR* d = ::opendir(path.c_str());
  if (d == nullptr) return true;
  bool empty = true;
  while (const dirent* e = ::readdir(d)) {
    const std::string_view name = e->d_name;
    if (name != "." && name != "..") empty = false;
  }
  ::closedir(d);
  return empty;
}

// The type of the file system mounted exactly on `path`; empty if none is. mountinfo writes blanks as \040.
std::string mounted_type(const std::string& path) {
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real) == nullptr) return {};
  std::string want;
  for (const char* p = real; *p != '\0'; ++p) {
    if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\\') {
      want += fmt::format("\\{:03o}", static_cast<unsigned>(*p));
    } else {
      want += *p;
    }
  }
  std::ifstream in("/proc/self/mountinfo");
  std::string line, found;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string skip, where, word, type;
    words >> skip >> skip >> skip >> skip >> where;
    while (words >> word && word != "-") {
    }
    words >> type;
    if (where == want) found = type;  // the last one is on top
  }
  return found;
}

}  // namespace

Status check_mountpoint(const std::string& path, bool nonempty) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) {
    const int err = errno;
    if (err == ENOTCONN) {
      return Error{Code::kStale, fmt::format("mountpoint {}: a mount whose process is gone is still there: "
                                             "run `fusermount -uz {}` and try again",
                                             path, path)};
    }
    if (err == ENOENT) return Error{Code::kNotFound, fmt::format("mountpoint {} does not exist", path)};
    return errno_error(err, "mountpoint " + path);
  }
  if (!S_ISDIR(s.st_mode))
    return Error{Code::kNotDirectory, fmt::format("mountpoint {} is not a directory", path)};
  const std::string type = mounted_type(path);
  if (type.starts_with("fuse") && !nonempty) {
    return Error{Code::kBusy,
                 fmt::format("mountpoint {}: a {} file system is mounted there already: unmount it "
                             "first, or give -o nonempty",
                             path, type)};
  }
  if (!nonempty && !is_empty(path)) {
    return Error{
        Code::kNotEmpty,
        fmt::format("mountpoint {} is not empty: give -o nonempty to mount over what is there", path)};
  }
  return {};
}

std::optional<dev_t> mounted_dev(const std::string& path) {
  struct statx x {};
  if (::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &x) != 0) return std::nullopt;
  return makedev(x.stx_dev_major, x.stx_dev_minor);
}

void abort_mount(const std::string& path, dev_t dev, int fuse_fd) {
  // Where somebody took the mount off its path lazily, fusectl still reaches it. Only while it lives: device
  // numbers are used again, and another mount may have this one by now.
  pollfd p{fuse_fd, 0, 0};
  if (::poll(&p, 1, 0) == 0) std::ofstream(fmt::format("/sys/fs/fuse/connections/{}/abort", minor(dev))) << 1;
  if (mounted_dev(path) != dev) return;
  // FORCE aborts the connection, which frees every thread that waits in it; DETACH takes the tree off at
  // once.
  if (::umount2(path.c_str(), MNT_FORCE | MNT_DETACH) != 0) {
    log::debug("fuse: umount2 {}: {}", path, errno_error(errno, "").message);
  }
}

}  // namespace s3cache::fuse
