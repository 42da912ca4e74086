// PrivateCache: the root of the cache folder of a mount without use_cache. Made under tmpdir, removed with
// everything in it at the end.
//
// The root is flock'd for its life. What a killed mount left behind has no lock any more: the next mount of
// the same bucket by the same user in the same tmpdir goes on with it, for its journal may hold what S3 does
// not have yet; of other buckets it is removed if it holds nothing of the kind. Threads: start and end only.
// Errors: kNotFound, kAccessDenied, kNoSpace, kIo.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace s3cache::app {

class PrivateCache {
 public:
  struct Options {
    std::string tmpdir;
    std::string cache_folder;  // the name of this mount's cache folder
    // Does a cache folder hold what is nowhere else? Asked of abandoned ones.
    std::function<bool(const std::string& folder)> unsaved;
    int min_age_s = 60;  // younger ones are not removed: their owner may be between mkdtemp and flock
  };
  static Result<std::unique_ptr<PrivateCache>> create(const Options& options);
  ~PrivateCache();
  PrivateCache(const PrivateCache&) = delete;
  PrivateCache& operator=(const PrivateCache&) = delete;

  const std::string& path() const { return path_; }
  // It stays, for the next mount of the bucket.
  void keep() { keep_ = true; }

 private:
  PrivateCache(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  const std::string path_;
  const UniqueFd lock_;  // of the folder itself
  bool keep_ = false;
};

}  // namespace s3cache::app
