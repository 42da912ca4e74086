// The store's files on disk, looked at before LMDB maps them.
//
// LMDB trusts the file: a header of garbage or a file cut short would be a crash later, so both meta pages
// are checked first. What no check finds (page_check.h) leaves a mark next to the file once LMDB trips over
// it, and the next open() says kCorrupt. A store closed cleanly leaves the opposite, "meta.ok", which saves
// the next open() from reading the whole file. Threads: any; OpenOnce is a process-wide registry with its own
// lock. Errors: kCorrupt, kNewerFormat, kBusy, kIo.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace s3cache::meta {

// Absent or empty is fine. Lengthens a file that is shorter than its header says: the missing pages then read
// as zeros, which LMDB refuses, instead of killing the process with SIGBUS. *shortened says that this
// happened.
Status check_store_file(const std::string& path, bool* shortened);

// Called once LMDB has found the store to be damaged beyond use: open() answers kCorrupt from now on.
void mark_store_damaged(const std::string& path);

// The note of a clean close: size, mtime_ns and last transaction of the file. It counts only while all three
// match, so nothing is synced for it: lost, it costs a check; come back after a power cut, it does not match
// a file that was written since (a transaction moves the third, and pages of one that never ended are not
// used).
void note_clean_close(const std::string& path);
bool closed_cleanly(const std::string& path);
void forget_clean_close(const std::string& path);

// True while the file system of `path` has next to nothing left: LMDB reports a short write as EIO.
bool disk_is_full(const std::string& path);

// Bytes on disk, 0 if absent.
uint64_t file_disk_bytes(const std::string& path);
uint64_t file_size(const std::string& path);

// Holds the right to open one path in this process: LMDB 0.9.24 does not refuse a second environment on the
// same file, and closing one would drop the POSIX locks of the other.
class OpenOnce {
 public:
  static Result<OpenOnce> claim(const std::string& path);
  OpenOnce(OpenOnce&& o) noexcept;
  OpenOnce& operator=(OpenOnce&&) = delete;
  OpenOnce(const OpenOnce&) = delete;
  ~OpenOnce();

 private:
  explicit OpenOnce(std::string key) : key_(std::move(key)) {}
  std::string key_;  // empty: moved from
};

}  // namespace s3cache::meta
