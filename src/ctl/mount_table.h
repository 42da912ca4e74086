// MountTable: which mount a path lies on, found without asking the mount: it may be dead, or stalled.
//
// A path is walked component by component; links are followed until it enters a FUSE mount. Threads: any.
// Errors: kNotFound, kNotDirectory, kAccessDenied, kInvalid (no FUSE mount is on the path).
#pragma once

#include <sys/types.h>

#include <istream>
#include <string>
#include <vector>

#include "base/result.h"

namespace s3cache::ctl {

struct MountEntry {
  std::string path;    // absolute
  std::string type;    // "fuse.s3cache"
  std::string source;  // first column of /proc/mounts
  std::string device;  // "0:57", the number the kernel gave it
  uid_t owner = 0;     // who mounted it (user_id=)
  bool fuse() const { return type.starts_with("fuse.") || type == "fuse"; }
};

class MountTable {
 public:
  static MountTable of_this_process();  // /proc/self/mountinfo
  static MountTable parse(std::istream& mountinfo);

  // The FUSE mount that `path` lies on.
  Result<MountEntry> find(const std::string& path) const;
  const MountEntry* at(const std::string& path) const;  // mounted exactly there, the topmost one

 private:
  const MountEntry* fuse_around(std::string path) const;
  std::vector<MountEntry> entries_;
};

// "0:57"
std::string device_name(dev_t device);

}  // namespace s3cache::ctl
