// FdCache: a bounded set of open descriptors of cache files, least recently used closed first.
//
// acquire() pins a descriptor for the time of one system call sequence (a shared handle); idle ones stay open up to the
// limit. When everything is pinned, acquire() opens over the limit rather than fail; EMFILE closes all idle ones
// and tries once more. Threads: any.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <unordered_map>

#include "base/result.h"
#include "base/sync.h"
#include "base/unique_fd.h"

namespace s3cache::cache {

class FdCache {
 public:
  explicit FdCache(size_t limit);
  using Open = std::function<Result<UniqueFd>()>;
  Result<std::shared_ptr<UniqueFd>> acquire(uint64_t fid, const Open& open);
  void forget(uint64_t fid);  // the file was unlinked or replaced
  void set_limit(size_t limit);
  size_t idle() const;

 private:
  // (the implementer fills this in)
};

}  // namespace s3cache::cache
