// TreeWalks: who walks through a tree of cold directories, and the flat listings that run ahead of them.
//
// A walk: kRun sub-directories of one directory, in the order of their names and none longer than a page,
// were cold and then read (opendir, not LOOKUP alone). The next cold one begins a flat listing of the
// directory from there. Only a cold directory begins one, so a tree that is known costs nothing. A walk that
// reads whole subtrees counts for their parent, too, so it goes flat at the next level up. Off on servers
// that list out of order or refuse a start, with a TTL of 0 (nothing read ahead would count) and with
// compat_dir (directories then have keys that sort elsewhere). Threads: any. No lock over a request or a
// callback. Bounded: kMaxDirs directories watched, kMaxWalks flat listings.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/dir_collect.h"
#include "core/tree_walk.h"

namespace s3cache::core {

class TreeWalks {
 public:
  static constexpr int kRun = 3;

  TreeWalks(NsContext& context, DirRecords& records, DirCollector& collector)
      : c_(context), records_(records), collector_(collector) {}

  // A cold directory was listed by itself, in one page. `read`: by somebody who reads it.
  void listed(uint64_t dir, bool read);
  // Somebody begins to read a directory whose names are known.
  void read(uint64_t dir);
  // A directory is wanted whose names are not known: `wake` is called when a flat listing has brought it, or
  // will not. False: none will.
  bool await(uint64_t dir, std::function<void()> wake);

  // For TreeWalk.
  NsContext& context() { return c_; }
  DirRecords& records() { return records_; }
  void refused(const Error& why);
  void finished(const TreeWalk* walk, bool to_the_end);
  void collect() { collector_.step(); }

 private:
  static constexpr size_t kMaxDirs = 1024, kMaxWalks = 8;
  static constexpr int64_t kRunMs = 30'000;    // between two directories of a walk
  static constexpr int64_t kRestMs = 300'000;  // a flat listing nobody follows is dropped
  static constexpr int kPenalty = 16;          // directories more until a walk that went wrong is tried again
  using WalkPtr = std::shared_ptr<TreeWalk>;
  struct Run {
    std::string last;
    int length = 0;
    int64_t at_ms = 0;
  };

  bool off() const;
  void count(uint64_t dir);
  WalkPtr begin(uint64_t dir, const std::string& key);

  NsContext& c_;
  DirRecords& records_;
  DirCollector& collector_;
  std::atomic<bool> refused_{false};
  std::atomic<bool> idle_{true};  // nothing is watched: spares warm opendirs the lock
  Mutex mu_;
  std::unordered_map<uint64_t, Run> runs_ GUARDED_BY(mu_);  // by parent
  std::unordered_set<uint64_t> listed_ GUARDED_BY(mu_);     // and not read so far
  std::deque<uint64_t> listed_order_ GUARDED_BY(mu_);
  std::vector<WalkPtr> walks_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
