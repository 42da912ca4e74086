// Pins: which directories have names that S3 does not know as they are here.
//
// A pinned dirent (checked_at kPinned) is a change on its way. Its directory must not vanish from the records
// meanwhile, whatever a listing says: the change, and with it somebody's bytes, would go too. So a directory
// is only removed through remove_unless_pinned, and a name is only pinned while its directory is there; both
// under one lock. Threads: any. Lock order: directory -> Pins -> inode. Owns: counts by directory, of this
// mount; the journal brings them back. Errors: kNotFound (the directory is gone).
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/sync.h"
#include "meta/meta_store.h"

namespace s3cache::core {

class Inodes;

class Pins {
 public:
  explicit Pins(Inodes& inodes) : inodes_(inodes) {}

  Status add(uint64_t dir) EXCLUDES(mu_);
  void drop(uint64_t dir) EXCLUDES(mu_);
  // At or below `dir`, any depth.
  bool below(uint64_t dir) EXCLUDES(mu_);
  // Removes the directory's record (Inodes::remove). False: something below it is pinned.
  bool remove_unless_pinned(uint64_t dir, meta::Batch batch) EXCLUDES(mu_);

 private:
  bool below_locked(uint64_t dir) REQUIRES(mu_);

  Inodes& inodes_;
  Mutex mu_;
  std::unordered_map<uint64_t, uint64_t> counts_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
