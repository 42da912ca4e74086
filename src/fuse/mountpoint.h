// The mountpoint: fit to mount on, and taken off again. Threads: free functions. Errors say what to do.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace s3cache::fuse {

// kNotFound, kNotDirectory, kAccessDenied, kNotEmpty, kBusy (a FUSE mount is there), kStale (a dead one is
// there).
Status check_mountpoint(const std::string& path, bool nonempty);

// The device number of what is at `path`, without asking the file system there.
std::optional<dev_t> mounted_dev(const std::string& path);

// Takes the mount `dev` off `path` even with files open; every request under way ends with ECONNABORTED.
// Another mount that is at `path` by now is left alone. fuse_fd: the session's descriptor.
void abort_mount(const std::string& path, dev_t dev, int fuse_fd);

}  // namespace s3cache::fuse
