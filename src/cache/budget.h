// Budget: bytes the cache may hold, reserved before they are fetched.
//
// used + reserved never exceeds the limit; `min_free` bytes stay free on the file system (checked by statvfs
// at most every 100 ms and by what was written since). A reservation is turned into use by commit() or given
// back by release(). A free-space figure above the truth (bytes freed whose file is still open) is corrected
// by the next statvfs.
//
// Threads: any; statvfs runs without the lock. Owns nothing; the CacheDir and the Clock outlive it.
// Errors: a file system that does not answer counts as having room (its writes will say so); the limit holds.
// Units: bytes.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/sync.h"
#include "cache/cache_dir.h"

namespace s3cache::cache {

struct BudgetOptions {
  int64_t limit = 0;     // cache_size; 0: only the free-space floor limits
  int64_t min_free = 0;  // ensure_diskfree
};

class Budget {
 public:
  Budget(CacheDir& dir, Clock& clock, BudgetOptions options);
  // False: no room now (the caller evicts or bypasses the cache).
  bool reserve(int64_t bytes);
  void release(int64_t bytes);
  void commit(int64_t bytes);  // reserved -> used
  void freed(int64_t bytes);   // used -> free (evicted, unlinked)
  void add_used(
      int64_t bytes);  // found on disk at start-up; may exceed the limit, reserve() then fails until eviction
  int64_t used() const;
  int64_t reserved() const;
  int64_t limit() const;
  // What the cache can come to at most: the limit, or less where the disk leaves less. INT64_MAX: no end
  // known.
  int64_t reach() const;
  // Bytes that have to go before reserve(bytes) can succeed; 0: there is room.
  int64_t shortfall(int64_t bytes) const;

 private:
  // Bytes short of min_free, 0: enough. Asks the file system again when its answer is 100 ms old.
  int64_t floor_shortfall(int64_t bytes) const EXCLUDES(mu_);
  int64_t limit_shortfall(int64_t bytes) const REQUIRES(mu_);

  CacheDir& dir_;
  Clock& clock_;
  const BudgetOptions options_;
  mutable Mutex mu_;
  int64_t used_ GUARDED_BY(mu_) = 0;
  int64_t reserved_ GUARDED_BY(mu_) = 0;
  // Written minus freed since the start; with the figure at the time of the last statvfs it corrects that
  // answer.
  int64_t net_written_ GUARDED_BY(mu_) = 0;
  mutable int64_t free_ GUARDED_BY(mu_) = -1;  // what statvfs said; -1: it never answered
  mutable int64_t net_at_stat_ GUARDED_BY(mu_) = 0;
  mutable int64_t next_stat_ms_ GUARDED_BY(mu_) = INT64_MIN;
};

}  // namespace s3cache::cache
