// LinkReader: the target of a symlink, which is the object's body.
//
// Asked by one GET of at most kMaxSymlink bytes and kept in the inode's ext record until the object changes;
// blanks at both ends are no part of it, as in s3fs. Its length becomes the link's size. Threads: any;
// callbacks on network threads or, when the target is known, on the caller's. Errors: kInvalid (no symlink,
// or the object grew into something else).
#pragma once

#include <string>

#include "core/dir_records.h"

namespace s3cache::core {

class LinkReader {
 public:
  explicit LinkReader(NsContext& context) : c_(context) {}
  void read(uint64_t ino, Callback<std::string> done);

 private:
  class Sink;
  void store(uint64_t ino, const s3::ObjectInfo& info, const std::string& target);

  NsContext& c_;
};

}  // namespace s3cache::core
