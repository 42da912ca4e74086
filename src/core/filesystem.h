// Filesystem: what the FUSE edge sees of core. Inodes by st_ino, files by version, no kernel words.
//
// Threads: every method from any thread; nothing blocks on the network or waits for another request.
// Callbacks run on the caller's thread when the answer is at hand, else on the thread that completes it;
// never under a lock. Errors: Code values; fuse/errno.h maps them.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/namespace.h"
#include "core/types.h"

namespace s3cache::core {

// One open of one version of a file. The version's bytes stay readable until the last handle goes, also when
// the object is replaced, the cache file evicted or the name removed; what was never cached then answers
// kStale.
class OpenFile {
 public:
  virtual ~OpenFile() = default;  // the RELEASE
  virtual uint64_t ino() const = 0;
  virtual uint64_t version() const = 0;
  virtual Attr attr() const = 0;  // of this version
  // All bytes are in the cache file, its size is exact and it will not change: fit for passthrough.
  virtual bool sealed() const = 0;
  // A read-only descriptor of the sealed cache file for registering with the kernel. Marks the file as
  // registered (immutable for ever) durably first. The caller closes it after registering.
  virtual Result<int> backing_fd() = 0;
};

// The bytes of a READ, valid only inside the callback. Shorter than asked at the end of the file only.
using ReadReply = std::span<const iovec>;

struct FsStat {
  uint64_t block_size = 0, blocks = 0, blocks_free = 0, files = 0, files_free = 0;
};

class Filesystem {
 public:
  virtual ~Filesystem() = default;

  virtual Namespace& names() = 0;

  struct OpenFlags {
    bool direct = false;   // O_DIRECT: ask the server for the current version first
    bool no_read = false;  // O_WRONLY
  };
  // Opens the current version. A small object that is not cached is fetched whole before done() is called, so
  // that the handle is sealed; a large one is opened at once.
  virtual void open(Caller caller, uint64_t ino, OpenFlags flags,
                    Callback<std::shared_ptr<OpenFile>> done) = 0;

  // REQUIRES: offset >= 0, length <= 1 MiB.
  virtual void read(std::shared_ptr<OpenFile> file, int64_t offset, size_t length,
                    Callback<ReadReply> done) = 0;

  virtual FsStat statfs() = 0;

  // user.s3cache.*: "etag", "cached_bytes" (decimal), "size". Also user metadata xattrs of s3fs. kNotFound:
  // no such name.
  virtual void getxattr(uint64_t ino, std::string name, Callback<std::string> done) = 0;
  virtual void listxattr(uint64_t ino, Callback<std::vector<std::string>> done) = 0;
};

}  // namespace s3cache::core
