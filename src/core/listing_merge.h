// ListingMerge: the pages of one listing of one directory, merged into its dirents.
//
// S3's order is the order of the dirent keys, so a page is a merge-join over the dirents between the last
// page's end and its own; only differences are written, new inodes and dirents of a page in one batch. Names
// the listing did not show are gathered and removed at its end, so that a server which turns out to list out
// of order costs no inode its number; past kMaxGone of them (65 pages in order) the order is believed. On
// such a server the names are looked up one by one, the ids seen are kept, and what was not seen is removed
// at the end. Stale answers: a page changes no dirent that is younger than the page's request (see
// DirRecords). Threads: one at a time (Listing); takes the directory's lock for a page. Errors: those of
// MetaStore.
#pragma once

#include <atomic>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/dir_records.h"
#include "core/namespace_names.h"

namespace s3cache::core {

class ListingMerge {
 public:
  ListingMerge(NsContext& context, DirRecords& records, uint64_t dir, int64_t started_at_ns)
      : c_(context),
        records_(records),
        dir_(dir),
        started_at_ns_(started_at_ns),
        unordered_(context.unordered) {}

  struct Outcome {
    std::vector<std::string> gone;  // names of this page's range that the server no longer has
    std::vector<std::string> late;  // names that came behind their place
    bool gone_removed = false;      // the gone of all pages so far were removed
  };
  // A younger listing of the directory begins: no page of this one is written down any more (kCancelled).
  void supersede() { superseded_ = true; }
  // Writes one page down. `last`: the listing ends with it. kCancelled: a younger listing has the say.
  Result<Outcome> page(const SplitPage& page, int64_t asked_at_ns, bool last);

  // Every name up to here (a dirent key's tail) is written down. Stands still once the server is out of
  // order.
  const std::string& frontier() const { return frontier_; }
  bool unordered() const { return unordered_; }

 private:
  static constexpr size_t kChunk = 1024;
  static constexpr size_t kMaxGone = 65'536;
  struct Existing {
    std::string tail;
    meta::Dirent dirent;
  };
  struct Work;  // of one page

  Status merge_range(const std::vector<const ListedName*>& names, Work& work);
  Status insert_singly(const ListedName& name, Work& work);
  Status add(const ListedName& name, Work& work);
  Status compare(const ListedName& name, const meta::Dirent& dirent, Work& work);
  void vanish(const Existing& existing, Work& work);
  Status sweep_unseen(Work& work);
  void remove_gone(Notices& notices);
  Result<std::vector<Existing>> read_chunk(const std::string& behind);
  // Visits the dirents behind the frontier until `visit` answers false or an error.
  template <class Visit>
  Status each_behind_frontier(const Visit& visit);
  void note_unordered();

  NsContext& c_;
  DirRecords& records_;
  const uint64_t dir_;
  const int64_t started_at_ns_;
  std::string frontier_;
  bool unordered_;
  std::atomic<bool> superseded_{
      false};  // read under the directory's lock, so no page slips in behind a younger one's
  std::map<std::string, int64_t> gone_;  // tail -> when the page was asked that lacked it
  std::set<std::string> marker_names_;   // objects that are directories: "x/" needs no key of its own
  std::unordered_set<uint64_t> seen_;    // out of order only
};

}  // namespace s3cache::core
