// EvictionPolicy: who may come into a full cache and who goes. Pure logic, no I/O; tests/bench simulates it.
//
// The rule (design.md, "Data rules"): while there is room everything is admitted. When full, a new object is
// bypassed, unless the oldest entry's age exceeds 2.2x the moving average (1/256) of observed reuse intervals
// (ghost entries included), or more than half a cache of never-seen keys came in a row; then the oldest goes.
// Time is counted in bytes accessed, so the rule does not depend on speed. Scans, random epochs and Zipf are
// in the simulator with the hit ratios measured. Threads: any, one mutex. Memory: 40 bytes an entry or so,
// ghosts bounded to as many as entries (at least 4,096).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/sync.h"

namespace s3cache::cache {

class EvictionPolicy {
 public:
  explicit EvictionPolicy(
      int64_t capacity_bytes);  // 0: unlimited (the free-space floor still asks for victims)

  // A file is opened or first read. `key` is a 64-bit hash of (ino, version). Call once per open, hit or
  // miss.
  void accessed(uint64_t fid, uint64_t key, int64_t bytes);
  // May this not-cached object of `bytes` be cached? If room is short, `victims` receives fids to evict for
  // it. Pinned, dirty or open files are named in no answer once reported by set_evictable(fid, false).
  struct Admission {
    bool admit = false;
    std::vector<uint64_t> victims;
  };
  Admission admit(uint64_t key, int64_t bytes, int64_t shortfall_bytes);
  void inserted(uint64_t fid, uint64_t key, int64_t bytes);
  void resized(uint64_t fid, int64_t bytes);
  void removed(uint64_t fid);  // evicted: becomes a ghost
  void set_evictable(uint64_t fid, bool evictable);
  // Unconditional victims of at least `bytes`, oldest first: the free-space floor, a streaming file, `free`.
  std::vector<uint64_t> oldest(int64_t bytes);

  // Start-up: entries oldest first.
  void restore(uint64_t fid, uint64_t key, int64_t bytes);
  size_t entries() const;

 private:
  // (the implementer fills this in)
};

}  // namespace s3cache::cache
