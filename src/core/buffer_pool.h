// BufferPool: the one memory budget for bytes in flight, in units of 1 MiB.
//
// Every byte that comes from S3 lands in a unit first; a transfer takes all its units before it starts, so
// the pool is the back-pressure of the whole read path (-o mem_limit). Background work leaves the last
// quarter to foreground reads. Units are mapped when first needed, a huge page at a time where the kernel has
// one, and reused last-in first-out (a fresh MiB costs 256 page faults else). Threads: any. Ownership: a Unit
// returns to its pool when the last reference goes; the pool outlives its units. Errors: none; take() answers
// "not now". Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/sync.h"

namespace s3cache::core {

class BufferPool {
 public:
  static constexpr int64_t kUnit = 1 << 20;

  explicit BufferPool(int64_t limit_bytes);  // rounded down to whole units, at least 8
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  using Unit = std::shared_ptr<std::byte>;
  // All `count` units or none.
  bool take(size_t count, bool background, std::vector<Unit>& out);
  // Past the limit, for the one segment without which nothing would move. False: the kernel has no memory.
  bool take_over_limit(size_t count, std::vector<Unit>& out);
  // Called (without a lock, on whatever thread) after units came back while somebody had been refused.
  // REQUIRES: set before the first take().
  void on_available(std::function<void()> wake) { wake_ = std::move(wake); }

  // Unmaps the units that were idle since the last call: a burst does not stay in RSS for ever, and a steady
  // stream does not fault its memory in again and again. For the janitor.
  void trim();

  size_t capacity() const { return capacity_; }
  size_t in_use() const;

 private:
  bool hand_out(size_t count, std::vector<Unit>& out);
  void give(std::byte* data);

  const size_t capacity_;
  std::function<void()> wake_;
  mutable Mutex mu_;
  size_t in_use_ GUARDED_BY(mu_) = 0;
  bool refused_ GUARDED_BY(mu_) = false;
  std::vector<std::byte*> idle_ GUARDED_BY(mu_);
  size_t least_idle_ GUARDED_BY(mu_) = 0;  // since the last trim()
};

}  // namespace s3cache::core
