#include "cache/cache_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/crash_point.h"
#include "base/log.h"
#include "base/sync.h"
#include "cache/cache_dir_open.h"

namespace s3cache::cache {

namespace {

struct DirCloser {
  void operator()(DIR* d) const { ::closedir(d); }
};
using DirHandle = std::unique_ptr<DIR, DirCloser>;

// Names in a folder without "." and ".."; none when it cannot be read.
std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  DirHandle dir(::opendir(path.c_str()));
  if (!dir) return names;
  while (const dirent* e = ::readdir(dir.get())) {
    const std::string_view name = e->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

std::optional<uint64_t> parse_fid(std::string_view name) {
  if (name.size() != 16) return std::nullopt;
  uint64_t fid = 0;
  for (char c : name) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    fid = fid << 4 | static_cast<uint64_t>(digit);
  }
  return fid;
}

class CacheDirImpl : public CacheDir {
 public:
  CacheDirImpl(OpenedFolder folder, int64_t ballast_bytes)
      : path_(std::move(folder.path)),
        ballast_bytes_(ballast_bytes),
        lock_(std::move(folder.lock)),
        fresh_(folder.fresh) {}

  const std::string& path() const override { return path_; }
  std::string store_path() const override { return path_ + "/" + kStoreFile; }
  std::string socket_path() const override { return path_ + "/control"; }
  bool fresh() const override { return fresh_; }
  std::string file_path(uint64_t fid) const override {
    return fmt::format("{}/data/{:02x}/{:016x}", path_, fid & 0xff, fid);
  }

  Result<UniqueFd> create_file(uint64_t fid, int64_t size) override;
  Result<UniqueFd> open_file(uint64_t fid, bool writable) override;
  Status unlink_file(uint64_t fid) override;
  Result<UniqueFd> scratch_file() override;
  Status each_file(const std::function<void(uint64_t fid)>& visit) override;
  Status rebuild() override;
  Result<size_t> purge_trash(size_t max_files) override;
  Result<Space> space() const override;
  void release_ballast() override;
  void restore_ballast() override;
  Status sync() override;
  Status sync_folder(uint64_t fid) override;
  void write_pid() override { write_lock_pid(lock_.get()); }

  // False: the disk has no room for it.
  bool take_ballast();

 private:
  std::string folder_of(uint64_t fid) const { return fmt::format("{}/data/{:02x}", path_, fid & 0xff); }
  std::string ballast_path() const { return path_ + "/ballast"; }
  size_t purge_folder(const std::string& folder, const std::string& tag, size_t max_files);
  void keep_aside(const std::string& file, const std::string& name);

  const std::string path_;
  const int64_t ballast_bytes_;
  const UniqueFd lock_;
  std::atomic<bool> fresh_;
  Mutex ballast_mu_;  // one thread at a time resizes the ballast; guards only the file on disk
};

Result<UniqueFd> CacheDirImpl::create_file(uint64_t fid, int64_t size) {
  const std::string path = file_path(fid);
  const auto create = [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); };
  UniqueFd fd(create());
  if (!fd && errno == ENOENT) {  // somebody removed the folder by hand: a cache may be tidied up while in use
    ::mkdir(folder_of(fid).c_str(), 0700);
    fd.reset(create());
  }
  if (!fd) return errno_error(errno, "create " + path);
  if (::ftruncate(fd.get(), size) != 0) {
    Error e = errno_error(errno, fmt::format("set the size of {} to {}", path, size));
    ::unlink(path.c_str());
    return e;
  }
  return fd;
}

Result<UniqueFd> CacheDirImpl::open_file(uint64_t fid, bool writable) {
  const std::string path = file_path(fid);
  UniqueFd fd(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open " + path);
  return fd;
}

Result<UniqueFd> CacheDirImpl::scratch_file() {
  UniqueFd fd(::open((path_ + "/data").c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) return errno_error(errno, "make a file without a name in " + path_);
  return fd;
}

Status CacheDirImpl::unlink_file(uint64_t fid) {
  const std::string path = file_path(fid);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "unlink " + path);
  return {};
}

Status CacheDirImpl::each_file(const std::function<void(uint64_t fid)>& visit) {
  for (uint64_t low = 0; low < 256; low++) {
    const std::string folder = folder_of(low);
    DirHandle dir(::opendir(folder.c_str()));
    if (!dir) {
      if (errno == ENOENT) continue;
      return errno_error(errno, "read " + folder);
    }
    while (const dirent* e = ::readdir(dir.get()))
      if (const auto fid = parse_fid(e->d_name); fid && (*fid & 0xff) == low) visit(*fid);
  }
  return {};
}

Status CacheDirImpl::rebuild() {
  if (Status s = move_aside(path_); !s.ok()) return s;
  if (Status s = make_data_folders(path_, nullptr); !s.ok()) return s;
  fresh_ = true;
  return {};
}

void CacheDirImpl::keep_aside(const std::string& file, const std::string& name) {
  const std::string folder = path_ + "/recover";
  ::mkdir(folder.c_str(), 0700);
  const std::string kept = folder + "/" + name;
  if (::rename(file.c_str(), kept.c_str()) != 0) return;  // stays in the trash, undeleted, for the next time
  log::warn("{}: holds data that was never uploaded; kept as {}", path_, kept);
}

// Depth first; a folder goes once it is empty. Returns the number of files removed or kept aside.
size_t CacheDirImpl::purge_folder(const std::string& folder, const std::string& tag, size_t max_files) {
  size_t gone = 0;
  for (const std::string& name : names_in(folder)) {
    if (gone >= max_files) return gone;
    const std::string path = folder + "/" + name;
    struct stat st;
    if (::lstat(path.c_str(), &st) != 0) continue;
    if (S_ISDIR(st.st_mode)) {
      gone += purge_folder(path, tag, max_files - gone);
      continue;
    }
    if (::lgetxattr(path.c_str(), kDirtyXattr, nullptr, 0) >= 0) {
      keep_aside(path, tag + "-" + name);
    } else {
      ::unlink(path.c_str());
    }
    gone += ::access(path.c_str(), F_OK) != 0 ? 1 : 0;
  }
  ::rmdir(folder.c_str());
  return gone;
}

Result<size_t> CacheDirImpl::purge_trash(size_t max_files) {
  size_t gone = 0;
  for (const std::string& name : names_in(path_)) {
    if (gone >= max_files) break;
    if (name.starts_with(kTrashPrefix)) gone += purge_folder(path_ + "/" + name, name, max_files - gone);
  }
  return gone;
}

Result<CacheDir::Space> CacheDirImpl::space() const {
  struct statvfs st;
  if (::statvfs(path_.c_str(), &st) != 0) return errno_error(errno, "statvfs " + path_);
  return Space{static_cast<int64_t>(st.f_bavail * st.f_frsize),
               static_cast<int64_t>(st.f_blocks * st.f_frsize)};
}

bool CacheDirImpl::take_ballast() {
  if (ballast_bytes_ <= 0) return true;
  MutexLock lock(ballast_mu_);
  const std::string path = ballast_path();
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return false;
  struct stat st;
  if (::fstat(fd.get(), &st) == 0 && st.st_size == ballast_bytes_ && st.st_blocks * 512 >= ballast_bytes_)
    return true;
  if (::ftruncate(fd.get(), 0) == 0 && ::posix_fallocate(fd.get(), 0, ballast_bytes_) == 0) return true;
  ::unlink(path.c_str());  // a part of it would take the very blocks that are short
  return false;
}

void CacheDirImpl::release_ballast() {
  MutexLock lock(ballast_mu_);
  if (::unlink(ballast_path().c_str()) == 0)
    log::warn("{}: the disk is full; the reserve was given back", path_);
}

void CacheDirImpl::restore_ballast() {
  if (::access(ballast_path().c_str(), F_OK) == 0) return;
  // Twice its size free, or the ballast would take what the journal was just given.
  const Result<Space> s = space();
  if (s.ok() && s->free >= 2 * ballast_bytes_) take_ballast();
}

Status CacheDirImpl::sync() {
  if (::syncfs(lock_.get()) != 0) return errno_error(errno, "syncfs " + path_);
  return {};
}

Status CacheDirImpl::sync_folder(uint64_t fid) {
  const std::string folder = folder_of(fid);
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return errno_error(errno, "fsync " + folder);
  return {};
}

}  // namespace

Result<std::unique_ptr<CacheDir>> CacheDir::open(const CacheDirOptions& options) {
  Undo undo;
  Result<OpenedFolder> folder = open_folder(options, undo);
  if (!folder.ok()) return folder.error();
  const bool fresh = folder->fresh;
  auto dir = std::make_unique<CacheDirImpl>(std::move(*folder), options.ballast_bytes);
  if (!dir->take_ballast()) {
    // A cache that filled its disk must come up again, if only to evict; a new one had better be put
    // elsewhere.
    if (fresh)
      return Error{Code::kNoSpace,
                   fmt::format("no room for a cache in {}: free some space there or give another "
                               "use_cache=",
                               dir->path())};
    log::warn("{}: the disk is full; going on without the reserve of {} bytes", dir->path(),
              options.ballast_bytes);
  }
  undo.keep();
  return std::unique_ptr<CacheDir>(std::move(dir));
}

std::string boot_id() {
  if (auto set = test_setting("S3CACHE_TEST_BOOT_ID")) return *set;
  UniqueFd fd(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  char buffer[64];
  const ssize_t n = fd ? ::read(fd.get(), buffer, sizeof(buffer)) : 0;
  std::string_view id(buffer, n > 0 ? static_cast<size_t>(n) : 0);
  if (id.ends_with('\n')) id.remove_suffix(1);
  return std::string(id);
}

}  // namespace s3cache::cache
