// IdAllocator: the one counter of inode, file and incarnation numbers.
//
// kState "next_id" is the first number that was never promised. A block of 1,024 is reserved there, durably,
// before its first number goes out, so a crash wastes at most a block or two and never repeats a number. The
// next block is reserved when half of this one is used: handing out a number then costs no wait. Threads:
// next() from any. Owns: nothing; the store outlives it and runs its callback on the writer thread. Errors:
// those of the commit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/sync.h"
#include "meta/meta_store.h"

namespace s3cache::meta {

class IdAllocator {
 public:
  static constexpr std::string_view kKey = "next_id";
  static constexpr uint64_t kFirst = 2;  // 0 is "none", 1 the root
  static constexpr uint64_t kBlock = 1024;

  // `start`: the stored counter. `store` is only used once next() is called.
  IdAllocator(MetaStore& store, uint64_t start) : store_(store), next_(start), limit_(start) {}

  // may_wait false (the writer thread): kBusy when the block is used up.
  Result<uint64_t> next(bool may_wait);

  // No number at or past it was given.
  uint64_t limit() EXCLUDES(mu_) {
    MutexLock l(mu_);
    return limit_;
  }

 private:
  void reserve() EXCLUDES(mu_);
  void reserved(uint64_t limit, const Status& status) EXCLUDES(mu_);

  MetaStore& store_;
  Mutex mu_;
  CondVar cv_;
  uint64_t next_ GUARDED_BY(mu_);
  uint64_t limit_ GUARDED_BY(mu_);  // numbers below it are durably ours
  bool reserving_ GUARDED_BY(mu_) = false;
  uint64_t attempts_ GUARDED_BY(mu_) = 0;  // reservations that ended
  Status last_ GUARDED_BY(mu_);            // how the last of them ended
};

}  // namespace s3cache::meta
