// The one table from error codes to errno: what a system call sees of an Error.
// Threads: pure functions.
#pragma once

#include "base/result.h"

namespace s3cache::fuse {

// For answers about a name (LOOKUP, UNLINK, RENAME, ...) and for everything without a rule of its own. Never
// 0.
int to_errno(Code code);

// For answers about an inode the kernel already holds (GETATTR, OPEN, SETATTR, WRITE, ...).
int to_inode_errno(Code code);

// For the xattr calls, where "not found" is said of the attribute.
int to_xattr_errno(Code code);

}  // namespace s3cache::fuse
