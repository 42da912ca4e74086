// PrivateCache: the cache folder of a mount without use_cache. Made under tmpdir, removed with everything in
// it at the end.
//
// The folder is flock'd for its life. What a killed mount left behind has no lock any more and is removed by
// the next start of the same user in the same tmpdir. Threads: start and end only. Errors: kNotFound,
// kAccessDenied, kNoSpace, kIo.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace s3cache::app {

class PrivateCache {
 public:
  // Abandoned folders younger than min_age_s stay: their owner may be between mkdtemp and flock.
  static Result<std::unique_ptr<PrivateCache>> create(const std::string& tmpdir, int min_age_s = 60);
  ~PrivateCache();
  PrivateCache(const PrivateCache&) = delete;
  PrivateCache& operator=(const PrivateCache&) = delete;

  const std::string& path() const { return path_; }

 private:
  PrivateCache(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  const std::string path_;
  const UniqueFd lock_;  // of the folder itself
};

}  // namespace s3cache::app
