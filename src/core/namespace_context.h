// NsContext: what the parts of the Namespace share: collaborators, options, clock rules, counters, directory
// locks.
//
// Threads: any; the counters are atomics, the directory locks are those of Inodes. Lock order: directory ->
// inode (inside Inodes). At most one directory lock is held at a time (a second one by try_lock, or for a
// rename by DirPairLock). Nothing is called back under one: what a change has to tell the listener is
// gathered in Notices and sent afterwards. Units: UNIX ns.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/sync.h"
#include "core/dir_use.h"
#include "core/namespace.h"

namespace s3cache::core {

// In kState: this server was seen to list out of order.
inline constexpr std::string_view kUnorderedKey = "ns/unordered";

// A dirent's checked_at while a change of this mount is on its way to S3: always fresh, and no answer of the
// server is newer.
inline constexpr int64_t kPinned = INT64_MAX;

struct NsContext {
  Inodes& inodes;
  s3::S3Client& s3;
  ObjectProber* const prober;
  ChangeListener* const listener;
  Clock& clock;
  const NamespaceOptions options;

  std::atomic<uint64_t> lookups{0}, lookup_hits{0}, listings{0}, heads{0}, probes{0}, unnameable{0};
  std::atomic<bool> said_unnameable{false};
  // The server was seen to list out of order: listings are trusted as a whole only.
  std::atomic<bool> unordered{false};
  DirUse dir_use{};

  meta::MetaStore& store() { return inodes.store(); }
  Mutex& dir_lock(uint64_t ino) { return inodes.dir_lock(ino); }
  int64_t now() const { return clock.wall_ns(); }

  // A word of the server of that time still counts. A time in the future is a clock that was set back: not
  // trusted.
  bool fresh(int64_t checked_at_ns) const {
    if (checked_at_ns == kPinned) return true;
    const int64_t age = now() - checked_at_ns;
    return checked_at_ns > options.distrust_before_ns && age >= -kClockSlackNs &&
           age < options.ttl_ms * 1'000'000;
  }
  int64_t left_ms(int64_t checked_at_ns) const {
    if (checked_at_ns == kPinned) return options.ttl_ms;
    return fresh(checked_at_ns) ? options.ttl_ms - (now() - checked_at_ns) / 1'000'000 : 0;
  }

 private:
  static constexpr int64_t kClockSlackNs = 1'000'000'000;
};

// The locks of two directories, which may be one.
class DirPairLock {
 public:
  DirPairLock(NsContext& context, uint64_t a, uint64_t b) NO_THREAD_SAFETY_ANALYSIS
      : first_(std::min(&context.dir_lock(a), &context.dir_lock(b))),
        second_(std::max(&context.dir_lock(a), &context.dir_lock(b))) {
    first_->lock();
    if (second_ != first_) second_->lock();
  }
  ~DirPairLock() NO_THREAD_SAFETY_ANALYSIS {
    if (second_ != first_) second_->unlock();
    first_->unlock();
  }
  DirPairLock(const DirPairLock&) = delete;
  DirPairLock& operator=(const DirPairLock&) = delete;

 private:
  Mutex *const first_, *const second_;  // by address: stripes of one table
};

// What the kernel has to hear once the locks are dropped.
class Notices {
 public:
  void changed(uint64_t ino) { changed_.push_back(ino); }
  void removed(uint64_t parent, std::string_view name) { removed_.emplace_back(parent, name); }
  void send(ChangeListener* listener) {
    if (listener != nullptr) {
      for (const uint64_t ino : changed_) listener->inode_changed(ino);
      for (const auto& [parent, name] : removed_) listener->entry_removed(parent, name);
    }
    changed_.clear();
    removed_.clear();
  }

 private:
  std::vector<uint64_t> changed_;
  std::vector<std::pair<uint64_t, std::string>> removed_;
};

// A name as far as it is known. Not found is an answer too.
struct Resolved {
  bool found = false;
  bool pinned = false;  // a change of this mount is on its way: nobody is asked
  uint64_t ino = 0;
  meta::Inode inode;
  int64_t checked_at_ns = 0;         // the last word of the server on the name, by whichever way it came
  int64_t dirent_checked_at_ns = 0;  // the last word on this name alone: when its HEAD was asked
};

}  // namespace s3cache::core
