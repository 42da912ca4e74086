// The words that core and the FUSE edge share: attributes, entries, callbacks.
//
// ino is the persistent id (st_ino), never a FUSE nodeid: incarnations are the FUSE edge's business.
// `version` names one content of an inode: equal (ino, version) means equal bytes. Units: bytes, ns since
// 1970, ms for TTLs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace s3cache::core {

template <class T>
using Callback = std::function<void(Result<T>)>;

struct Attr {
  uint64_t ino = 0;
  uint32_t mode = 0;  // with type bits
  uint32_t nlink = 1;
  uint32_t uid = 0, gid = 0, rdev = 0;
  int64_t size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0, atime_ns = 0;
};

struct Entry {
  Attr attr;
  uint64_t version = 0;  // of a regular file's content; 0 for everything else
  int64_t ttl_ms = 0;    // how long kernel and caller may believe it
  bool guessed = false;  // name, type and size are right, the rest is to be asked when it is wanted
};

// The answer to a LOOKUP. A name that is known to be absent is an answer, not an error.
struct LookupReply {
  bool found = false;
  Entry entry;         // if found
  int64_t ttl_ms = 0;  // of the absence, if not
};

struct DirItem {
  std::string_view name;
  uint64_t ino = 0;
  uint64_t cookie = 0;           // what readdir() resumes behind
  uint32_t d_type = 0;           // DT_*; DT_UNKNOWN while only HEAD could tell
  const Entry* entry = nullptr;  // for READDIRPLUS: nullptr while attributes are not known
};

// Who asks, for heuristics only (a thread that stats without opening); never for permission.
struct Caller {
  uint32_t tid = 0;
};

}  // namespace s3cache::core
