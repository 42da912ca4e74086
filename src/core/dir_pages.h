// DirPages: the pages of one directory written down, whichever listing they are from: its own, page by page,
// or a part of a flat one (tree_walk.h).
//
// Also tells whether the directory has an object of its own: its key is the shortest, so the first page of an
// ordered listing shows it or there is none. Threads: one at a time. Errors: those of ListingMerge.
#pragma once

#include <string>

#include "core/listing_merge.h"

namespace s3cache::core {

class DirPages {
 public:
  // `prefix` is the directory's key; the listing of it began at `started_at_ns`.
  DirPages(NsContext& context, DirRecords& records, uint64_t dir, std::string prefix, int64_t started_at_ns)
      : c_(context),
        records_(records),
        dir_(dir),
        prefix_(std::move(prefix)),
        merge_(context, records, dir, started_at_ns) {}

  // `last`: the server has shown everything there is in the directory.
  Result<ListingMerge::Outcome> write(s3::ListPage page, int64_t asked_at_ns, bool last);

  ListingMerge& merge() { return merge_; }

 private:
  void take_marker(const SplitPage& page, int64_t asked_at_ns, bool last);

  NsContext& c_;
  DirRecords& records_;
  const uint64_t dir_;
  const std::string prefix_;
  ListingMerge merge_;
  bool marker_known_ = false;
  bool any_key_ = false;
};

}  // namespace s3cache::core
