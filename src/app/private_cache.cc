#include "app/private_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "base/log.h"

namespace s3cache::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "s3cache-private-";

UniqueFd open_folder(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

void remove_tree(const std::string& path) {
  std::error_code ec;
  fs::remove_all(path, ec);
  if (ec) log::warn("private cache {} is not removed: {}", path, ec.message());
}

// Removes the folders of mounts that were killed. Only this user's, never through a link, never a locked one.
void sweep(const std::string& tmpdir, int min_age_s) {
  std::error_code ec;
  for (fs::directory_iterator it(tmpdir, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string path = it->path().string();
    if (!it->path().filename().string().starts_with(kPrefix)) continue;
    const UniqueFd folder = open_folder(path);
    struct stat st {};
    if (!folder || ::fstat(folder.get(), &st) != 0 || st.st_uid != ::geteuid()) continue;
    if (::time(nullptr) - st.st_ctime < min_age_s || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
    log::info("removing {}, left by a mount that was killed", path);
    remove_tree(path);
  }
}

Error cannot_make(const std::string& tmpdir, int err) {
  const std::string what = fmt::format("private cache in tmpdir {}", tmpdir);
  const std::string_view fix = err == ENOENT   ? "create the folder or use another tmpdir"
                               : err == ENOSPC ? "make room, or use another tmpdir or use_cache"
                                               : "use a tmpdir that this user may write, or use_cache";
  Error error = errno_error(err, what);
  error.message += fmt::format(": {}", fix);
  return error;
}

}  // namespace

Result<std::unique_ptr<PrivateCache>> PrivateCache::create(const std::string& tmpdir, int min_age_s) {
  sweep(tmpdir, min_age_s);
  std::string path = fmt::format("{}/{}XXXXXX", tmpdir == "/" ? "" : tmpdir, kPrefix);
  if (::mkdtemp(path.data()) == nullptr) return cannot_make(tmpdir, errno);
  UniqueFd lock = open_folder(path);
  if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    const int err = errno;
    ::rmdir(path.c_str());
    return cannot_make(tmpdir, err);
  }
  return std::unique_ptr<PrivateCache>(new PrivateCache(std::move(path), std::move(lock)));
}

PrivateCache::~PrivateCache() { remove_tree(path_); }

}  // namespace s3cache::app
