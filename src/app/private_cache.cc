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
#include <optional>
#include <utility>

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

// One cache folder in it holds what is nowhere else.
bool holds_unsaved(const std::string& root, const PrivateCache::Options& options) {
  std::error_code ec;
  for (fs::directory_iterator it(root, ec), end; !ec && it != end; it.increment(ec))
    if (it->is_directory() && options.unsaved(it->path().string())) return true;
  return static_cast<bool>(ec);
}

struct Left {
  std::string path;
  UniqueFd lock;
};

// Goes through the roots of mounts that were killed: only this user's, never through a link, never a locked
// one. Returns one of this mount's bucket.
std::optional<Left> sweep(const PrivateCache::Options& options) {
  std::optional<Left> ours;
  std::error_code ec;
  for (fs::directory_iterator it(options.tmpdir, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string path = it->path().string();
    if (!it->path().filename().string().starts_with(kPrefix)) continue;
    UniqueFd folder = open_folder(path);
    struct stat st {};
    if (!folder || ::fstat(folder.get(), &st) != 0 || st.st_uid != ::geteuid()) continue;
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::error_code none;
    if (!ours && fs::is_directory(path + "/" + options.cache_folder, none)) {
      log::info("using {} again, left by a mount of this bucket", path);
      ours = Left{path, std::move(folder)};
    } else if (::time(nullptr) - st.st_ctime >= options.min_age_s) {
      if (holds_unsaved(path, options)) {
        log::warn("{} holds changes that are not on S3, left by another mount: mount its bucket again", path);
        continue;
      }
      log::info("removing {}, left by a mount that was killed", path);
      remove_tree(path);
    }
  }
  return ours;
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

Result<std::unique_ptr<PrivateCache>> PrivateCache::create(const Options& options) {
  if (auto left = sweep(options))
    return std::unique_ptr<PrivateCache>(new PrivateCache(std::move(left->path), std::move(left->lock)));
  const std::string& tmpdir = options.tmpdir;
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

PrivateCache::~PrivateCache() {
  if (!keep_) remove_tree(path_);
}

}  // namespace s3cache::app
