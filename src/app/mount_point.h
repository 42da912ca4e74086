// Looks at the mount point before anything else is started, so that what is wrong with it is said in one
// line. Threads: start-up only. Errors: kNotFound, kNotDirectory, kBusy, kStale, kAccessDenied, kInvalid.
#pragma once

#include <string>

#include "base/result.h"

namespace s3cache::app {

// The mount point's absolute path without links. A FUSE mount that stands there already is kBusy, a dead one
// kStale.
Result<std::string> check_mount_point(const std::string& given, bool nonempty);

// The cache may not lie inside the mount: a read would wait for itself. Both paths absolute; empty cache:
// fine.
Status check_cache_outside(const std::string& mount_point, const std::string& cache);

// The kernel's side: /dev/fuse can be opened.
Status check_fuse_device();

// allow_other and allow_root of a plain user need a line in fuse.conf; fusermount3 would say so on the
// standard error.
Status check_allow_other(const std::string& fuse_conf = "/etc/fuse.conf");

}  // namespace s3cache::app
