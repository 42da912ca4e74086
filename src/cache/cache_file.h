// CacheFile: the sparse file of one object version, its valid pages and its checksums.
//
// Bytes before bits: write() puts bytes into the file and only then marks pages; readers ask covers() and then read, and
// verify CRC32C of the 64 KiB blocks they touch whole. What write() did is durable only once the caller stored the
// changed chunks (take_changes) and, against a power cut, synced the file.
// Descriptors come from an FdCache: a CacheFile without I/O in flight holds none (10,000 open files, 256 descriptors).
// Threads: any; one mutex inside, never held during a read or write system call.
// Errors: kCorrupt (a block fails its CRC; its pages are cleared unless registered), kNoSpace, kIo.
// Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "base/unique_fd.h"
#include "cache/cache_dir.h"
#include "cache/fd_cache.h"
#include "cache/page_map.h"

namespace s3cache::cache {

inline constexpr int64_t kCrcBlock = 64 << 10;
inline constexpr int64_t kCrcChunk = 16 << 20;  // 256 blocks

// What has to go into the store: chunk number and the encoded content (1,024-byte bitmap; crc values with a known flag).
struct CacheChanges {
  std::vector<std::pair<uint32_t, std::string>> maps;
  struct Crcs {
    uint32_t chunk;
    uint32_t crc[256];
    bool known[256];
  };
  std::vector<Crcs> crcs;
  int64_t valid_bytes = 0;
};

class CacheFile {
 public:
  // The file on disk exists already for `created` = false; else it is made by the first write.
  CacheFile(CacheDir& dir, FdCache& fds, uint64_t fid, int64_t size, bool created);
  ~CacheFile();

  uint64_t fid() const { return fid_; }
  int64_t size() const { return size_; }
  bool covers(int64_t offset, int64_t length) const;
  std::vector<Run> missing(int64_t offset, int64_t length) const;
  bool full() const;
  int64_t valid_bytes() const;

  // Writes bytes that came from the network at `offset`, marks whole pages valid, computes CRCs of whole blocks from this
  // very buffer (a block assembled from several writes is read back once when complete; callers write 64 KiB-aligned pieces where they can).
  // Returns the bytes newly valid. REQUIRES: offset page-aligned; the length too, or it ends at size.
  Result<int64_t> write(int64_t offset, std::span<const std::byte> data);
  // Reads valid bytes; whole blocks are verified. Short at the end of file only. kCorrupt names the fid and block.
  Result<size_t> read(int64_t offset, std::span<std::byte> out, bool verify = true);
  // Drops a range of a file that was never registered: clears bits; punch() then gives the blocks back.
  int64_t clear(int64_t offset, int64_t length);
  Status punch(int64_t offset, int64_t length);

  CacheChanges take_changes();
  void load_map(uint32_t chunk, std::string_view bits);
  void load_crcs(const CacheChanges::Crcs& crcs);

  Status fdatasync();
  Result<UniqueFd> open_readonly();  // a descriptor of its own, for passthrough
  // Tells the kernel that cached pages of this range will not be read through this file again (POSIX_FADV_DONTNEED).
  void drop_page_cache(int64_t offset, int64_t length);

 private:
  // (the implementer fills this in)
  const uint64_t fid_;
  const int64_t size_;
};

}  // namespace s3cache::cache
