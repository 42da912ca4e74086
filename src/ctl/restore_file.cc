#include "ctl/restore_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/unique_fd.h"
#include "cache/file_io.h"

namespace s3cache::ctl {

namespace {

constexpr int64_t kPiece = 1 << 20;

// Holes stay holes.
Status copy_data(int from, int to, int64_t size) {
  const auto buffer = std::make_unique<std::byte[]>(kPiece);
  for (int64_t at = 0; at < size;) {
    const int64_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole to the end
    at = data < 0 ? at : data;              // a file system without holes: all of it is data
    const int64_t hole = ::lseek(from, at, SEEK_HOLE);
    const int64_t end = hole < 0 ? size : std::min(hole, size);
    while (at < end) {
      const auto want = static_cast<size_t>(std::min(kPiece, end - at));
      const ssize_t n = cache::read_fully(from, at, {buffer.get(), want});
      if (n <= 0) return Error{Code::kIo, "the kept file cannot be read"};
      if (Status s = cache::write_all(to, at, {buffer.get(), static_cast<size_t>(n)}, "the restored file");
          !s.ok())
        return s;
      at += n;
    }
  }
  return ::ftruncate(to, size) == 0 ? Status() : Status(errno_error(errno, "set the restored file's size"));
}

Status write_file(const std::string& from, const std::string& to) {
  const UniqueFd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat st {};
  if (!source || ::fstat(source.get(), &st) != 0) return errno_error(errno, "open " + from);
  UniqueFd target(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!target) return errno_error(errno, "create " + to);
  Status done = copy_data(source.get(), target.get(), st.st_size);
  if (done.ok() && ::fsync(target.get()) != 0) done = errno_error(errno, "sync " + to);
  if (::close(target.release()) != 0 && done.ok()) done = errno_error(errno, "close " + to);
  if (!done.ok()) ::unlink(to.c_str());
  return done;
}

}  // namespace

Status restore_file(const std::string& from, const std::string& to, bool force) {
  if (!force) return write_file(from, to);
  // Beside it, so that what is there goes only when the copy is whole.
  const std::string fresh = to + ".restore-" + std::to_string(::getpid());
  if (Status s = write_file(from, fresh); !s.ok()) return s;
  if (::rename(fresh.c_str(), to.c_str()) == 0) return {};
  const Status failed = errno_error(errno, "replace " + to);
  ::unlink(fresh.c_str());
  return failed;
}

}  // namespace s3cache::ctl
