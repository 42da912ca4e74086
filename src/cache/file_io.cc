#include "cache/file_io.h"

#include <unistd.h>

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

Result<size_t> read_all(int fd, int64_t offset, std::span<std::byte> out, const std::string& what) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd, out.data() + done, out.size() - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read " + what);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

}  // namespace s3cache::cache
