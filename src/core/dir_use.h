// DirUse: which directories are in use: read by somebody, or touched lately.
//
// Readers are counted exactly. Touches go into a table of 65,536 times by a hash of the directory: two that
// share a place make each other look used, never unused. Threads: any. Lock order: directory -> mu_ -> inode.
// Units: ns of wall time, kept to the second. In RAM only: O(open directories) and 256 KiB.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/sync.h"

namespace s3cache::core {

class DirUse {
 public:
  using Readers = std::unordered_map<uint64_t, int>;

  void touch(uint64_t dir, int64_t now_ns) {
    place(dir).store(static_cast<uint32_t>(now_ns / kSecond), std::memory_order_relaxed);
  }
  int64_t touched_ns(uint64_t dir) { return int64_t{place(dir).load(std::memory_order_relaxed)} * kSecond; }

  void add_reader(uint64_t dir) {
    MutexLock lock(mu_);
    readers_[dir]++;
  }
  void drop_reader(uint64_t dir) {
    MutexLock lock(mu_);
    const auto it = readers_.find(dir);
    if (it != readers_.end() && --it->second == 0) readers_.erase(it);
  }
  // Runs `change` unless somebody reads the directory; nobody begins to while it runs. False: somebody does.
  template <class Change>
  bool unless_read(uint64_t dir, const Change& change) {
    MutexLock lock(mu_);
    if (readers_.contains(dir)) return false;
    change(readers_);
    return true;
  }

 private:
  static constexpr int64_t kSecond = 1'000'000'000;
  using Times = std::array<std::atomic<uint32_t>, 65'536>;
  std::atomic<uint32_t>& place(uint64_t dir) { return (*times_)[(dir * 0x9e3779b97f4a7c15U) >> 48]; }

  const std::unique_ptr<Times> times_ = std::make_unique<Times>();
  Mutex mu_;
  Readers readers_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
