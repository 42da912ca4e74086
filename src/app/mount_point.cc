#include "app/mount_point.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/unique_fd.h"

namespace s3cache::app {
namespace {

Error cannot_use(const std::string& path, int err) {
  switch (err) {
    case ENOENT:
      return {Code::kNotFound, fmt::format("mount point {} does not exist: mkdir -p {}", path, path)};
    case ENOTCONN:
      return {Code::kStale,
              fmt::format("mount point {} is stale, its daemon is gone: fusermount3 -uz {}", path, path)};
    case EACCES:
      return {Code::kAccessDenied,
              fmt::format("mount point {} is not accessible: give this user access to it", path)};
    default:
      return {Code::kIo, fmt::format("mount point {}: {}", path, std::strerror(err))};
  }
}

// The type of what is mounted at exactly `path`, empty if nothing is. mountinfo writes blanks and the like in
// octal.
std::string mounted_type(const std::string& path) {
  std::string escaped;
  for (const char c : path) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\') {
      escaped += fmt::format("\\{:03o}", static_cast<unsigned>(c));
    } else {
      escaped += c;
    }
  }
  std::ifstream file("/proc/self/mountinfo");
  std::string line, type;
  while (std::getline(file, line)) {
    // id parent major:minor root mount_point options... - type source options; the last line of a place is on
    // top.
    std::istringstream fields(line);
    std::string skip, place;
    fields >> skip >> skip >> skip >> skip >> place;
    const size_t dash = line.find(" - ");
    if (place != escaped || dash == std::string::npos) continue;
    std::istringstream(line.substr(dash + 3)) >> type;
  }
  return type;
}

}  // namespace

Result<std::string> check_mount_point(const std::string& given) {
  std::error_code ec;
  const std::filesystem::path absolute = std::filesystem::absolute(given, ec);
  const std::string shown = ec ? given : absolute.lexically_normal().string();
  struct stat st {};
  if (::stat(shown.c_str(), &st) != 0) return cannot_use(shown, errno);
  if (!S_ISDIR(st.st_mode)) {
    return Error{Code::kNotDirectory,
                 fmt::format("mount point {} is not a directory: give a directory", shown)};
  }
  char real[PATH_MAX];
  if (::realpath(shown.c_str(), real) == nullptr) return cannot_use(shown, errno);
  // Mounting over a disk is the user's business; over a FUSE mount it is a start that ran twice.
  if (const std::string type = mounted_type(real); type.starts_with("fuse")) {
    return Error{Code::kBusy, fmt::format("mount point {} is busy, a {} is mounted there: fusermount3 -u {}",
                                          real, type, real)};
  }
  if (::geteuid() != 0 && ::access(real, W_OK) != 0) {
    return Error{Code::kAccessDenied,
                 fmt::format("mount point {} is not writable for this user: use a folder of your own", real)};
  }
  return std::string(real);
}

Status check_cache_outside(const std::string& mount_point, const std::string& cache) {
  if (cache.empty()) return {};
  std::error_code ec;
  const std::filesystem::path real = std::filesystem::weakly_canonical(cache, ec);
  const std::string folder = (ec ? cache : real.string()) + "/";
  const std::string mount = mount_point == "/" ? mount_point : mount_point + "/";
  if (!folder.starts_with(mount)) return {};
  return Error{Code::kInvalid,
               fmt::format("cache folder {} lies inside the mount point {}: use another use_cache", cache,
                           mount_point)};
}

Status check_fuse_device() {
  const UniqueFd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (fd) return {};
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    return Error{Code::kUnsupported,
                 "/dev/fuse is missing: modprobe fuse, or start the container with --device /dev/fuse"};
  }
  // A plain user's mount goes through fusermount3, which opens the device itself.
  if (::geteuid() != 0) return {};
  return Error{Code::kAccessDenied,
               fmt::format("/dev/fuse cannot be opened ({}): a container needs --device /dev/fuse "
                           "--cap-add SYS_ADMIN",
                           std::strerror(errno))};
}

}  // namespace s3cache::app
