// EvictionPolicy: who may come into a full cache and who goes. Pure logic, no I/O.
//
// The rule: while there is room everything is admitted. When full, a new object is bypassed, unless the
// oldest entry is stale (older than 2.2x the moving average of observed reuse intervals, ghost entries
// included), or a quarter of the cache in never-seen keys went by (a new data set). A new data set replaces
// the oldest entry; else entries that were never used again go first while they hold over a tenth of the
// cache. Time is counted in bytes accessed, so the rule does not depend on speed. The .cc says what each
// figure buys; tests/bench/cache_sim.cc compares with LRU, FIFO, SIEVE, S3-FIFO and a frozen cache.
//
// A victim is claimed when it is named: it is named to nobody else. The caller commits its end and then calls
// removed(); one that it keeps after all comes back by set_evictable(fid, true) or with its next access.
//
// Threads: any, one mutex. Errors: none. Units: bytes.
// Memory: about 130 bytes an entry, 32 more for its ghosts (4 an entry, 8 bytes each, at least 65,536).
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/sync.h"
#include "cache/ghost_table.h"

namespace s3cache::cache {

class EvictionPolicy {
 public:
  // 0: unlimited (the free-space floor still asks for victims).
  explicit EvictionPolicy(int64_t capacity_bytes);

  // A file is opened or first read. `key` is a 64-bit hash of (ino, version). Once per open, hit or miss.
  void accessed(uint64_t fid, uint64_t key, int64_t bytes);
  // May this not-cached object of `bytes` be cached? If room is short, `victims` receives fids to evict for
  // it. Pinned, dirty or open files are named in no answer once reported by set_evictable(fid, false), which
  // may come before inserted(); they keep their place in the order.
  struct Admission {
    bool admit = false;
    std::vector<uint64_t> victims;
  };
  Admission admit(uint64_t key, int64_t bytes, int64_t shortfall_bytes);
  void inserted(uint64_t fid, uint64_t key, int64_t bytes);
  void resized(uint64_t fid, int64_t bytes);
  // inserted(), or resized() by what came in addition.
  void grown(uint64_t fid, uint64_t key, int64_t by);
  int64_t removed(uint64_t fid);  // evicted: becomes a ghost. Returns the bytes it held, 0: not known
  void set_evictable(uint64_t fid, bool evictable);
  // Unconditional victims of at least `bytes`, oldest first: the free-space floor, a streaming file, `free`.
  std::vector<uint64_t> oldest(int64_t bytes);
  // That one as a victim, if it may go.
  bool claim(uint64_t fid);

  // Start-up: entries oldest first. False: it is there already.
  bool restore(uint64_t fid, uint64_t key, int64_t bytes);
  size_t entries() const;
  int64_t evictable_bytes() const;

 private:
  struct Entry {
    uint64_t fid = 0, key = 0;
    int64_t bytes = 0;
    int64_t time = 0;  // of the last access
    Entry *older = nullptr, *newer = nullptr;
    bool listed = false;  // in a queue: may be named as a victim
    bool reused = false;  // accessed again since it was inserted
  };
  // Entries whose last access fell into the same 1/1,024 of the capacity. An entry that becomes evictable
  // again goes back to the queue of its time, so it keeps its place to that precision, in O(log queues).
  struct Queue {
    Entry *oldest = nullptr, *newest = nullptr;
  };

  int64_t capacity() const REQUIRES(mu_);
  int64_t tick(int64_t time) const { return time / tick_; }
  void seen_again(int64_t interval, int64_t bytes) REQUIRES(mu_);
  void never_seen(int64_t bytes) REQUIRES(mu_);
  void set_bytes(Entry& e, int64_t bytes) REQUIRES(mu_);
  void add(uint64_t fid, uint64_t key, int64_t bytes, int64_t time) REQUIRES(mu_);
  void enlist(Entry& e) REQUIRES(mu_);
  void delist(Entry& e) REQUIRES(mu_);
  Entry* oldest_of(bool reused) const REQUIRES(mu_);
  // The next to go; null: nobody (unconditional: nobody is evictable).
  Entry* pick(bool unconditional) const REQUIRES(mu_);
  // Takes victims out of the queues until they hold `bytes`. False: not enough of them may go.
  bool claim(int64_t bytes, bool unconditional, std::vector<uint64_t>& victims) REQUIRES(mu_);

  const int64_t capacity_;
  const int64_t tick_;  // bytes
  mutable Mutex mu_;
  std::unordered_map<uint64_t, Entry> entries_ GUARDED_BY(mu_);  // its nodes do not move
  std::unordered_set<uint64_t> held_ GUARDED_BY(mu_);   // set_evictable(fid, false), also before inserted()
  std::map<int64_t, Queue> queues_[2] GUARDED_BY(mu_);  // [reused], by tick, oldest first
  GhostTable ghosts_ GUARDED_BY(mu_);
  int64_t total_ GUARDED_BY(mu_) = 0;  // bytes of all entries
  int64_t listed_bytes_ GUARDED_BY(mu_) = 0;
  int64_t fresh_bytes_ GUARDED_BY(mu_) = 0;  // of those that are not reused
  int64_t clock_ GUARDED_BY(mu_) = 0;        // bytes accessed
  int64_t restored_to_ GUARDED_BY(mu_);      // time of the last entry restored
  double mean_interval_ GUARDED_BY(mu_) = 0;
  int64_t samples_ GUARDED_BY(mu_) = 0;
  int64_t unseen_run_ GUARDED_BY(mu_) = 0;  // bytes of never-seen keys, less what was seen in between
};

}  // namespace s3cache::cache
