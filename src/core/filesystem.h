// Filesystem: what the FUSE edge sees of core. Inodes by st_ino, files by version, no kernel words.
//
// Threads: every method from any thread; nothing blocks on the network or waits for another request.
// Callbacks run on the caller's thread when the answer is at hand, else on the thread that completes it;
// never under a lock. Errors: Code values; fuse/errno.h maps them.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/namespace.h"
#include "core/stats.h"
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
  // Opened for writing. While one such handle lives, sealed() is false for every handle of the inode.
  virtual bool writable() const { return false; }
};

// What a new node gets from its maker: mode with type bits, the umask already taken off.
struct NewNode {
  uint32_t mode = 0;
  uint32_t uid = 0, gid = 0;
  uint32_t rdev = 0;
};

// A SETATTR: what is set, the rest stays.
struct SetAttr {
  std::optional<uint32_t> mode;  // permission bits; the type bits are ignored
  std::optional<uint32_t> uid, gid;
  std::optional<int64_t> size;
  std::optional<int64_t> atime_ns, mtime_ns, ctime_ns;
};

struct Created {
  Entry entry;
  std::shared_ptr<OpenFile> file;
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
    bool direct = false;    // O_DIRECT: ask the server for the current version first
    bool no_read = false;   // O_WRONLY
    bool write = false;     // O_WRONLY or O_RDWR
    bool truncate = false;  // O_TRUNC: the new length is 0 before done() is called
  };
  // Opens the current version. A small object that is not cached is fetched whole before done() is called, so
  // that the handle is sealed; a large one is opened at once.
  virtual void open(Caller caller, uint64_t ino, OpenFlags flags,
                    Callback<std::shared_ptr<OpenFile>> done) = 0;

  // REQUIRES: offset >= 0, length <= 1 MiB.
  virtual void read(std::shared_ptr<OpenFile> file, int64_t offset, size_t length,
                    Callback<ReadReply> done) = 0;

  virtual FsStat statfs() = 0;
  virtual Stats stats() { return {}; }

  // --- changes. Each answers kReadOnly on a file system that only reads. In the default mode done() comes
  // after S3 has the change, with its error; with -o writeback after a durable record here (a kill, a power
  // cut and a remount later it is still carried out). Names are the last component, at most 255 bytes.

  // A new regular file, opened for writing. Nothing is sent before its first flush. kExists: `exclusive`, or
  // another kind of node has the name; else an existing file is opened.
  virtual void create(Caller caller, uint64_t parent, std::string name, NewNode node, bool exclusive,
                      OpenFlags flags, Callback<Created> done);
  // Bytes are taken before it returns; done(n) may come later (back-pressure: a full cache disk, memory).
  // kNoSpace, kTooBig, kStale (the base version is gone and is needed).
  virtual void write(std::shared_ptr<OpenFile> file, int64_t offset, std::span<const std::byte> data,
                     Callback<size_t> done);
  // O_APPEND: the offset is the end of the file at that moment.
  virtual void append(std::shared_ptr<OpenFile> file, std::span<const std::byte> data, Callback<size_t> done);
  // mode: FALLOC_FL_*. kUnsupported for what is not KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE or 0.
  virtual void fallocate(std::shared_ptr<OpenFile> file, int mode, int64_t offset, int64_t length,
                         Callback<void> done);
  // close(2) of one descriptor of the handle: waits for the upload (writeback: for the local disk).
  virtual void flush(std::shared_ptr<OpenFile> file, Callback<void> done);
  virtual void fsync(std::shared_ptr<OpenFile> file, bool data_only, Callback<void> done);
  // fsync of a directory: every change of its names made before is done (writeback: durable).
  virtual void fsync_directory(uint64_t ino, Callback<void> done);
  // Everything dirty, everywhere: syncfs(2), `s3cache sync`, unmount.
  virtual void sync_all(Callback<void> done);
  // What failed and waits for its next try is tried now.
  virtual void retry_now() {}
  // copy_file_range: bytes copied, as far as they went.
  virtual void copy_range(std::shared_ptr<OpenFile> from, int64_t from_offset, std::shared_ptr<OpenFile> to,
                          int64_t to_offset, int64_t length, Callback<size_t> done);

  // `file`: the handle the caller named (ftruncate, fchmod), may be null.
  virtual void setattr(uint64_t ino, std::shared_ptr<OpenFile> file, SetAttr what, Callback<Entry> done);
  virtual void mkdir(uint64_t parent, std::string name, NewNode node, Callback<Entry> done);
  // Fifo, socket, device, or an empty regular file.
  virtual void mknod(uint64_t parent, std::string name, NewNode node, Callback<Entry> done);
  virtual void symlink(uint64_t parent, std::string name, std::string target, NewNode node,
                       Callback<Entry> done);
  virtual void unlink(uint64_t parent, std::string name, Callback<void> done);
  virtual void rmdir(uint64_t parent, std::string name, Callback<void> done);
  // flags: RENAME_NOREPLACE, RENAME_EXCHANGE or 0.
  virtual void rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name,
                      unsigned flags, Callback<void> done);
  // flags: XATTR_CREATE, XATTR_REPLACE or 0. kExists, kNotFound.
  virtual void setxattr(uint64_t ino, std::string name, std::string value, int flags, Callback<void> done);
  virtual void removexattr(uint64_t ino, std::string name, Callback<void> done);

  // user.s3cache.*: "etag", "cached_bytes" (decimal), "size". Also user metadata xattrs of s3fs. kNotFound:
  // no such name.
  virtual void getxattr(uint64_t ino, std::string name, Callback<std::string> done) = 0;
  virtual void listxattr(uint64_t ino, Callback<std::vector<std::string>> done) = 0;
};

}  // namespace s3cache::core
