// CacheDir: the folder on disk of one (endpoint, bucket, prefix): layout, lock, version, file names.
//
//   ROOT/<bucket>-<16 hex of the identity's hash>/   a second mount of the same gets -2, -3 and a log line
//     lock        flock'd for the mount's life; holds the pid
//     version     "s3cache 1" and the identity in clear
//     meta.mdb    LMDB (core opens it)
//     data/<2 hex: fid & 0xff>/<16 hex fid>
//     ballast     bytes to give back when the disk is full, so that LMDB can commit
//     control     unix socket (ctl)
//     trash-<n>/  what rebuild() moved aside; purge_trash() deletes it, a piece at a time
//     recover/    files out of the trash with bytes S3 never got (kDirtyXattr); only a person deletes these
//
// The folder fan-out of 256 is made at first open. A failed open() leaves nothing behind that it made.
//
// Threads: any, after open(). Owns the lock's descriptor.
// Errors, each naming the path and the way out: kAccessDenied, kNoSpace, kBusy, kNotDirectory, kNotFound
// (create_root is off), kNewerFormat ("made by a newer s3cache: remove it or use another use_cache="), kIo.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace s3cache::cache {

inline constexpr int kFormatVersion = 1;
// Set on a cache file while it holds bytes that S3 has not got (value: key and base ETag). Such a file
// survives a rebuild(): purge_trash() moves it to recover/ instead of deleting it.
inline constexpr const char* kDirtyXattr = "user.s3cache.dirty";

inline constexpr const char* kStoreFile = "meta.mdb";  // the metadata store, in the cache folder

struct CacheDirOptions {
  std::string root;                 // use_cache=, or a private folder under tmpdir
  std::string identity;             // "endpoint\nbucket\nprefix"
  std::string bucket;               // for the folder's name
  int64_t ballast_bytes = 8 << 20;  // 0: none
  bool create_root = true;          // false: check_cache_dir_exist
};

class CacheDir {
 public:
  static Result<std::unique_ptr<CacheDir>> open(const CacheDirOptions& options);
  virtual ~CacheDir() = default;

  virtual const std::string& path() const = 0;
  virtual std::string store_path() const = 0;
  virtual std::string socket_path() const = 0;
  // True when the folder was made (or rebuilt from an older format) by this open().
  virtual bool fresh() const = 0;

  virtual std::string file_path(uint64_t fid) const = 0;
  // O_CREAT|O_EXCL|O_RDWR, mode 0600, truncated up to `size` (sparse).
  virtual Result<UniqueFd> create_file(uint64_t fid, int64_t size) = 0;
  virtual Result<UniqueFd> open_file(uint64_t fid, bool writable) = 0;
  virtual Status unlink_file(uint64_t fid) = 0;  // a missing file is not an error
  // An empty file without a name, gone with its descriptor.
  virtual Result<UniqueFd> scratch_file() {
    return Error{Code::kUnsupported, "no files without a name here"};
  }
  // Visits every fid on disk (start-up after a damaged store, `check`); never needed for a normal mount.
  virtual Status each_file(const std::function<void(uint64_t fid)>& visit) = 0;
  // Moves the store and all data aside into trash and starts afresh: for a damaged or older store. The data
  // is deleted in place. One rename for each: a mount does not wait for a million unlinks. REQUIRES: the
  // store is closed, no file is open.
  virtual Status rebuild() = 0;
  // Deletes up to max_files files of left-over trash; returns how many went, 0: no trash is left. For the
  // janitor.
  virtual Result<size_t> purge_trash(size_t max_files = SIZE_MAX) {
    (void)max_files;
    return size_t{0};
  }

  // Bytes free for this user on the cache's file system, and its size.
  struct Space {
    int64_t free = 0, total = 0;
  };
  virtual Result<Space> space() const = 0;
  // Frees the ballast (disk full) / takes it again when there is room.
  virtual void release_ballast() = 0;
  virtual void restore_ballast() = 0;
  virtual Status sync() = 0;  // one syncfs for everything written so far
  // Makes the directory entry of a new file durable (the first fsync of a file).
  virtual Status sync_folder(uint64_t fid) {
    (void)fid;
    return sync();
  }
  // Writes the pid into `lock` again: the process has become a daemon since open().
  virtual void write_pid() {}
};

// The name of the first cache folder of such a mount in its root.
std::string folder_name(const CacheDirOptions& options);

// The kernel's boot id: another one than the store's means the machine went down in between.
// S3CACHE_TEST_BOOT_ID overrides it.
std::string boot_id();

}  // namespace s3cache::cache
