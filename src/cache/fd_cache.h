// FdCache: a bounded set of open descriptors of cache files, least recently used closed first.
//
// acquire() pins a descriptor for the time of one system call sequence (a shared handle); idle ones stay open
// up to the limit. When everything is pinned, acquire() opens over the limit rather than fail; EMFILE closes
// all idle ones and tries once more. A forgotten descriptor stays usable for who holds it and closes with its
// last holder.
//
// Threads: any; `open` runs without the lock. Owns the idle descriptors. Errors: those of `open`.
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
  struct Entry {
    uint64_t fid;
    std::shared_ptr<UniqueFd> fd;
  };

  // Closes idle descriptors, the oldest first, until `limit` are open. Returns how many.
  size_t close_idle(size_t limit);
  void trim(size_t limit, std::list<Entry>& closing) REQUIRES(mu_);

  mutable Mutex mu_;
  size_t limit_ GUARDED_BY(mu_);
  uint64_t forgets_ GUARDED_BY(mu_) = 0;  // an open() that began before a forget() is not kept
  std::list<Entry> lru_ GUARDED_BY(mu_);  // newest first
  std::unordered_map<uint64_t, std::list<Entry>::iterator> index_ GUARDED_BY(mu_);
};

}  // namespace s3cache::cache
