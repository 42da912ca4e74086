// TreeMerge: the pages of a flat listing (no delimiter) of a subtree, dealt out to its directories.
//
// Keys come in S3's order, so the directories of a subtree follow each other as in a walk, parents before
// children, and a directory is over when a key beyond it is seen. Each one's part of a page goes through
// DirPages as a page of its own listing would, so all its rules hold: differences only, no stale answer, and
// complete only when shown from its beginning to its end. A directory counts only if it was entered from its
// beginning: the listing starts between two directories of `top`, and top itself gets nothing. A parent's
// part is written first, which gives its new sub-directories their numbers; below a name the store does not
// have (removed meanwhile, or without a POSIX name) keys are passed over.
//
// A page that is not in ascending order is not used: what this listing had called complete is so no more.
// Threads: one at a time. Owns: the directories under way. Errors: kCorrupt (out of order), kInvalid (a
// server that takes no start or no missing delimiter).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dir_pages.h"

namespace s3cache::core {

class TreeMerge {
 public:
  TreeMerge(NsContext& context, DirRecords& records, uint64_t top, std::string prefix,
            std::string start_after);

  struct Outcome {
    size_t completed = 0;  // directories
    size_t touched = 0;    // directories with names of their own in this page
  };
  Result<Outcome> page(s3::ListPage page, int64_t asked_at_ns, bool last);

  // The last key written down.
  const std::string& position() const { return position_; }

 private:
  struct Folder {
    std::string prefix, name;
    std::shared_ptr<Folder> parent;
    uint64_t ino = 0;
    std::optional<DirPages> pages;  // empty: not known yet, or passed over
    s3::ListPage part;              // of the page at hand
    bool closed = false;
  };
  using FolderPtr = std::shared_ptr<Folder>;
  static constexpr size_t kRemembered = 65'536;

  Status check(const s3::ListPage& page);
  void deal(s3::ListedObject object, std::vector<FolderPtr>& touched);
  bool identify(Folder& folder, int64_t asked_at_ns);
  void take_back();

  NsContext& c_;
  DirRecords& records_;
  const std::string prefix_;
  std::string position_;
  bool begun_ = false;
  std::vector<FolderPtr> open_;     // from top down to the directory of the last key
  std::deque<uint64_t> completed_;  // the last ones
};

}  // namespace s3cache::core
