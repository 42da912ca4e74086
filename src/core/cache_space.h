// CacheSpace: room in the disk cache: admission, eviction and the records that go with them.
//
// Joins the Budget (how much), the EvictionPolicy (who) and the store (what it says on disk). Evicting a
// file: its records are erased and its fid goes to the trash in one batch, then the file is unlinked, then
// the trash entry goes. A crash in between leaves a trash entry, which the next start finishes; a record
// whose file is gone is dropped when met. fids are never reused, so a late unlink hits no other file.
// Threads: any. mu_ serialises eviction only (one evictor at a time); it is held across unlink, never across
// the network. The policy's entry of a file holds what the budget was charged for it, no record does: an
// entry is counted in once and counted off once, whatever its records say by then. Errors: none to callers;
// "no room" is an answer. Units: bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/sync.h"
#include "cache/budget.h"
#include "cache/cache_dir.h"
#include "cache/eviction_policy.h"
#include "cache/fd_cache.h"
#include "cache/page_map.h"
#include "meta/meta_store.h"
#include "meta/records.h"

namespace s3cache::core {

class CacheSpace {
 public:
  // part_bytes: what one part of an upload may have to read beside the changes; 0: nobody writes, readers may
  // have all of it.
  CacheSpace(meta::MetaStore& store, cache::CacheDir& dir, cache::FdCache& fds, cache::Budget& budget,
             int64_t part_bytes);
  ~CacheSpace();  // stops the start-up walk

  // Finishes the trash, tells the policy and the budget what is there, removes files without a record: in the
  // background, so that a mount over a million files starts at once. What the records say counts from the
  // beginning; until the walk is done a full-looking cache bypasses.
  void start_restore(uint64_t first_new_fid);
  bool restored() const { return restored_.load(std::memory_order_acquire); }

  // Room for `length` bytes more of the object `key` (policy key), evicting what the policy gives up for it.
  // passing: what a draft builds on; its bytes go with it, and may be in the draft's own file as well.
  bool reserve(uint64_t key, int64_t length, bool passing);
  void unreserve(int64_t bytes) { budget_.release(charge(bytes)); }
  // Reserved bytes of the file are on disk now.
  void stored(uint64_t fid, uint64_t key, int64_t bytes);

  // Room for bytes that S3 has not got: whatever the policy thinks, cached files go for them. Together they
  // may take three quarters of the room for data; what an upload reads beside them (for_upload) may take the
  // rest. False: nothing can go.
  bool take_for_draft(uint64_t fid, int64_t bytes, bool for_upload) EXCLUDES(drafts_mu_);
  // The disk is full though the budget has room: others fill it. False: nothing can go, or it would not help.
  bool evict_for_disk(int64_t bytes) EXCLUDES(drafts_mu_);
  // A draft was cut: bytes of its file are free again.
  void shrunk(uint64_t fid, int64_t bytes) EXCLUDES(drafts_mu_);
  // It was saved: its file is a cached one like others.
  void draft_ended(uint64_t fid) EXCLUDES(drafts_mu_);
  // Room for a file without a name, which nobody evicts.
  bool take_scratch(int64_t bytes);
  void scratch_freed(int64_t bytes) { budget_.freed(charge(bytes)); }

  // A file of an earlier mount is about to be used: it counts from here on, and does not go before it is
  // set_evictable() again. False: it has no record any more.
  bool adopt(uint64_t fid);
  // Removes a cache file that nobody uses, whatever the policy thinks of it.
  void evict_idle(uint64_t fid);
  // Removes one cache file for good: records, data, accounting. Once more does no harm.
  void evict(uint64_t fid);

  // Counts what the folder holds besides data (store, ballast) as used. Call it now and then: the store
  // grows.
  void account_overhead();

  // What the cache files take: the budget's figure without store, ballast and folders.
  int64_t data_bytes() const { return budget_.used() - overhead_; }

  cache::EvictionPolicy& policy() { return policy_; }
  cache::Budget& budget() { return budget_; }

 private:
  // What a run of bytes takes on disk: whole blocks. Runs begin on pages, so the sums agree however they are
  // cut.
  static int64_t charge(int64_t bytes) { return (bytes + cache::kPage - 1) / cache::kPage * cache::kPage; }
  void restore(uint64_t first_new_fid);
  void empty_trash();
  void restore_files(uint64_t first_new_fid);
  // Goes on counting what the records say is on disk, until it has found `limit` files.
  void count_files(size_t limit, uint64_t first_new_fid);
  bool is_current(uint64_t fid, uint64_t ino);
  void remove_orphans(uint64_t first_new_fid);
  bool make_room(int64_t bytes);
  void evict_locked(uint64_t fid) REQUIRES(mu_);
  std::optional<meta::File> record_of(uint64_t fid);
  void count_in(uint64_t fid, const meta::File& file) REQUIRES(mu_);
  bool crowds_out_writers(int64_t bytes, bool passing) const;
  bool within_drafts_share(int64_t bytes) EXCLUDES(drafts_mu_);

  meta::MetaStore& store_;
  cache::CacheDir& dir_;
  cache::FdCache& fds_;
  cache::Budget& budget_;
  cache::EvictionPolicy policy_;
  const int64_t part_bytes_;
  Mutex drafts_mu_;                                                      // a leaf
  std::unordered_map<uint64_t, int64_t> drafts_ GUARDED_BY(drafts_mu_);  // fid -> bytes taken
  int64_t drafts_bytes_ GUARDED_BY(drafts_mu_) = 0;
  struct Found {
    int64_t used_s;
    uint64_t fid;
    int64_t bytes;
  };
  std::vector<Found> found_;  // of the thread that restores
  std::string counted_to_;
  std::atomic<bool> counted_{false};
  std::atomic<bool> restored_{false};
  std::atomic<bool> stopping_{false};
  Mutex mu_;
  std::atomic<int64_t> overhead_{0};  // changes under mu_
  std::thread restorer_;
};

}  // namespace s3cache::core
