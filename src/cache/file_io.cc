#include "cache/file_io.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace s3cache::cache {

Status write_all(int fd, int64_t offset, std::span<const std::byte> data, const std::string& what) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno_error(n < 0 ? errno : EIO, "write " + what);
    data = data.subspan(static_cast<size_t>(n));
    offset += n;
  }
  return {};
}

ssize_t read_fully(int fd, int64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd, out.data() + done, out.size() - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

ssize_t read_with_ahead(int fd, int64_t offset, std::span<std::byte> out, int64_t window) {
  const iovec io{out.data(), out.size()};
  const auto got = std::max<ssize_t>(::preadv2(fd, &io, 1, offset, RWF_NOWAIT), 0);
  if (got == static_cast<ssize_t>(out.size())) return got;
  ::posix_fadvise(fd, offset + got, window, POSIX_FADV_WILLNEED);
  const ssize_t rest = read_fully(fd, offset + got, out.subspan(static_cast<size_t>(got)));
  return rest < 0 ? rest : got + rest;
}

}  // namespace s3cache::cache
