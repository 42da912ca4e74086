// Scrubber: reads complete cache files now and then and compares them with their checksums.
//
// The kernel reads sealed files by itself, so bytes that rot there would be seen by nobody. One pass over all
// files begins every `interval_s`, in the order of their ids; how far it has come is kept in the store, so a
// remount goes on. A step is at most kStep bytes, kRate bytes a second, and only while nobody opens or
// fetches anything; files that are open or were changed here are left out. What was read leaves the page
// cache, as it would crowd out what is used. A damaged file goes the way of ContentTable::damaged(): gone
// from the cache, fetched again when it is next read. Threads: step() one at a time (the janitor's). Errors:
// none; they are counted and logged. Units: bytes, s.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "core/content_table.h"

namespace s3cache::core {

class Scrubber {
 public:
  // interval_s 0: never.
  Scrubber(meta::MetaStore& store, ContentTable& contents, Clock& clock, int64_t interval_s);

  static constexpr int64_t kStep = 4 << 20;
  static constexpr int64_t kRate = 32 << 20;

  // One step, if it is time for one. Returns the ms until the next may be.
  int64_t step();

 private:
  // In the store, so that it outlives the mount.
  struct Progress {
    int64_t began_s = 0;    // the last pass, 0: none so far
    uint64_t next_fid = 0;  // where it goes on; 0: it is over
  };
  void load();
  void save();
  bool next_file();
  int64_t check_some();
  void finish();

  meta::MetaStore& store_;
  ContentTable& contents_;
  Clock& clock_;
  const int64_t interval_s_;
  bool loaded_ = false;
  Progress progress_;
  std::shared_ptr<Content> file_;                // under way
  int64_t offset_ = 0;                           // in it
  int64_t unsaved_ = 0;                          // bytes since the progress was last written down
  int64_t bytes_ = 0, files_ = 0, damaged_ = 0;  // of this pass, since the mount
};

}  // namespace s3cache::core
