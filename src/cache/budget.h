// Budget: bytes the cache may hold, reserved before they are fetched.
//
// used + reserved never exceeds the limit; `min_free` bytes stay free on the file system (checked by statvfs at most every
// 100 ms and by what was written since). A reservation is turned into use by commit() or given back by release().
// Threads: any. Units: bytes.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/sync.h"
#include "cache/cache_dir.h"

namespace s3cache::cache {

struct BudgetOptions {
  int64_t limit = 0;      // cache_size; 0: only the free-space floor limits
  int64_t min_free = 0;   // ensure_diskfree
};

class Budget {
 public:
  Budget(CacheDir& dir, Clock& clock, BudgetOptions options);
  // False: no room now (the caller evicts or bypasses the cache).
  bool reserve(int64_t bytes);
  void release(int64_t bytes);
  void commit(int64_t bytes);   // reserved -> used
  void freed(int64_t bytes);    // used -> free (evicted, unlinked)
  void add_used(int64_t bytes);  // found on disk at start-up; may exceed the limit, reserve() then fails until eviction
  int64_t used() const;
  int64_t limit() const;
  // Bytes that have to go before reserve(bytes) can succeed; 0: there is room.
  int64_t shortfall(int64_t bytes) const;

 private:
  // (the implementer fills this in)
};

}  // namespace s3cache::cache
