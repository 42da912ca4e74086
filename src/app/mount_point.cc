#include "app/mount_point.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/unique_fd.h"
#include "fuse/mountpoint.h"

namespace s3cache::app {
namespace {

// What fuse::check_mountpoint() found, with the way out where it has none of its own.
Error with_way_out(Error error, const std::string& path) {
  if (error.code == Code::kNotFound) error.message += fmt::format(": mkdir -p {}", path);
  if (error.code == Code::kNotDirectory) error.message += ": give a directory";
  if (error.code == Code::kAccessDenied) error.message += ": give this user access to it";
  return error;
}

}  // namespace

Result<std::string> check_mount_point(const std::string& given, bool nonempty) {
  std::error_code ec;
  const std::filesystem::path absolute = std::filesystem::absolute(given, ec);
  const std::string shown = ec ? given : absolute.lexically_normal().string();
  if (auto fit = fuse::check_mountpoint(shown, nonempty); !fit) return with_way_out(fit.error(), shown);
  char real[PATH_MAX];
  if (::realpath(shown.c_str(), real) == nullptr) return errno_error(errno, "mountpoint " + shown);
  if (::geteuid() != 0 && ::access(real, W_OK) != 0) {
    return Error{Code::kAccessDenied,
                 fmt::format("mountpoint {} is not writable for this user: use a folder of your own", real)};
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
               fmt::format("cache folder {} lies inside the mountpoint {}: use another use_cache", cache,
                           mount_point)};
}

Status check_fuse_device() {
  const UniqueFd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (fd) return {};
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    return Error{Code::kUnsupported,
                 "/dev/fuse is missing: modprobe fuse, or start the container with --device /dev/fuse"};
  }
  return Error{
      Code::kAccessDenied,
      fmt::format(
          "/dev/fuse cannot be opened ({}): give this user access to it (chmod 666), a container needs "
          "--device /dev/fuse --cap-add SYS_ADMIN",
          std::strerror(errno))};
}

Status check_allow_other(const std::string& fuse_conf) {
  std::ifstream file(fuse_conf);
  for (std::string line; std::getline(file, line);) {
    std::string word;
    std::istringstream(line) >> word;
    if (word == "user_allow_other") return {};
  }
  return Error{
      Code::kAccessDenied,
      fmt::format(
          "allow_other needs the line user_allow_other in {}: add it as root, or leave allow_other out",
          fuse_conf)};
}

}  // namespace s3cache::app
