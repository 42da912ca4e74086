// ColdNames: forgets names that nobody used for long while more are known than the metadata's budget allows.
//
// Goes round the dirents in the order of their directories, a bounded number a step, and removes those whose
// directory was neither listed nor used, and which were not asked, since a threshold. The threshold falls by
// half after each round that did not find enough, from four TTLs down to a minute: by and large the oldest go
// first, without a list of all. Never removed: what this mount changed and S3 has not got (kLocal, pinned
// dirents, kDirty), names with a cache file (cache_size bounds those, and their data is worth more than the
// name), open files, directories that are read or have names below them still.
//
// A directory that lost a name is not complete: its record says when, so that a listing that is under way
// does not call it complete at its end. A removed name has another inode number when it is asked again; the
// kernel's use of the old one answers kStale, and it walks again. Threads: step() one at a time; lookups,
// listings and writers go on meanwhile. Locks: directory -> DirUse -> inode. Errors: a store that fails ends
// the step.
#pragma once

#include <string>
#include <vector>

#include "core/namespace_context.h"

namespace s3cache::core {

class ColdNames {
 public:
  explicit ColdNames(NsContext& context) : c_(context) {}

  static constexpr size_t kStep = 256;
  static constexpr int64_t kLeastAgeMs = 60'000;

  // One step, if it is time for one. Returns the ms until the next may be.
  int64_t tend();

 private:
  struct Name {
    std::string key;  // of the dirent
    meta::Dirent dirent;
  };
  // Names of one directory. Returns how many are gone.
  size_t collect(uint64_t dir, const std::vector<Name>& names, int64_t before_ns);
  bool cold_directory(uint64_t dir, int64_t before_ns);
  bool remove(uint64_t dir, const Name& name, const DirUse::Readers& readers, int64_t before_ns);
  bool remove_directory(uint64_t parent, uint64_t ino, const DirUse::Readers& readers, int64_t before_ns,
                        meta::Batch batch);
  bool may_go(uint64_t ino, const meta::Inode& inode);
  bool empty(uint64_t dir);
  size_t known() const;
  size_t step(int64_t before_ns, bool* round_over);
  int64_t first_age_ms() const;

  NsContext& c_;
  std::string cursor_;
  int64_t age_ms_ = 0;  // 0: nothing to do so far
  size_t to_go_ = 0;
  int64_t rest_until_ms_ = 0;
};

}  // namespace s3cache::core
