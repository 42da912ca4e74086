// CacheFile: the sparse file of one object version, its valid pages and its checksums.
//
// Bytes before bits: write() puts bytes into the file and only then marks pages; readers ask covers() and
// then read. What write() did is durable only once the caller stored the changed chunks (take_changes) and,
// against a power cut, synced the file.
//
// A 64 KiB block is verified when it is first touched after a load or a write, whatever the read's size, and
// then trusted as long as this object lives; scrub() looks again. Measured out of a warm page cache, one
// thread: a 4 KiB read is 2-3 us once its block is verified and 20 us at the first touch (always verifying
// would be 20 us each time); 1 MiB reads run at 10 GB/s without, 6 GB/s with the check.
//
// Descriptors come from an FdCache: a CacheFile without I/O in flight holds none (10,000 open files, 256
// descriptors).
//
// Threads: any; one mutex inside, never held during a system call. Writers of disjoint ranges run at once.
// Owns nothing on disk: the file outlives the object; unlinking it and FdCache::forget() are the caller's.
// Errors: kCorrupt (a block fails its CRC; its pages are cleared unless registered), kNotFound (pages not
// valid, or no longer: cleared meanwhile, or the file was removed by hand; fetch again), kNoSpace, kIo,
// kBusy (punch), kInvalid.
// Units: bytes.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// What has to go into the store: chunk number and the encoded content (1,024-byte bitmap; crc values with a
// known flag).
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
  // `make`: the file is not on disk yet, the first write makes it at its full size (sparse).
  CacheFile(CacheDir& dir, FdCache& fds, uint64_t fid, int64_t size, bool make);
  ~CacheFile();

  uint64_t fid() const { return fid_; }
  int64_t size() const { return size_; }
  bool covers(int64_t offset, int64_t length) const;
  std::vector<Run> missing(int64_t offset, int64_t length) const;
  bool full() const;
  int64_t valid_bytes() const;

  // Writes bytes that came from the network at `offset`, marks whole pages valid, computes CRCs of whole
  // blocks from this very buffer (a block assembled from several writes is read back once when complete;
  // callers write 64 KiB-aligned pieces where they can). Returns the bytes newly valid. REQUIRES: offset
  // page-aligned; the length too, or it ends at size.
  Result<int64_t> write(int64_t offset, std::span<const std::byte> data);
  // Takes bytes in that are in the file already (a local writer's): whole pages of the range become valid,
  // and the CRCs of complete blocks are computed by reading them. Returns the bytes newly valid. kBusy: the
  // file has another size, its writer goes on; it is his, and stays as it is.
  Result<int64_t> absorb(int64_t offset, int64_t length);
  // Reads valid bytes, verified as said above. Short at the end of file only. kCorrupt names the fid and
  // block.
  Result<size_t> read(int64_t offset, std::span<std::byte> out, bool verify = true);
  // Drops a range of a file that was never registered: clears bits and the CRCs of the blocks it touches;
  // punch() then gives the disk's blocks back (whole pages inside the range). Between the two the caller
  // stores the changes. clear() of a registered file does nothing; punch() of one is kInvalid. kBusy: a page
  // there is valid or being written.
  int64_t clear(int64_t offset, int64_t length);
  Status punch(int64_t offset, int64_t length);
  // Reads every complete block of the range from the file again and checks it. Returns the bad ones (cleared
  // unless registered); blocks without a CRC are left out.
  Result<std::vector<Run>> scrub(int64_t offset, int64_t length);

  // Once registered with the kernel the file is immutable for ever: no write, clear or punch reaches it.
  void set_registered();
  bool registered() const;
  // The file on disk was there once and is gone (removed by hand, evicted): its pages were cleared, writes
  // fail with kNotFound. The caller drops the record and starts with a new fid: this one may be in the trash
  // already.
  bool lost() const;
  // Something of it may be on disk.
  bool made() const;

  CacheChanges take_changes();
  // The store did not take them: the chunks come again with the next take_changes().
  void put_back_changes(const CacheChanges& changes);
  void load_map(uint32_t chunk, std::string_view bits);
  void load_full();  // every page is valid: a sealed file
  void load_crcs(const CacheChanges::Crcs& crcs);

  Status fdatasync();
  Result<UniqueFd> open_readonly();  // a descriptor of its own, for passthrough
  // Tells the kernel that cached pages of this range will not be read through this file again
  // (POSIX_FADV_DONTNEED).
  void drop_page_cache(int64_t offset, int64_t length);

 private:
  // CRCs of one 16 MiB chunk; only as many as the file has blocks there.
  struct CrcChunk {
    std::vector<uint32_t> crc;
    std::bitset<256> known;
    std::bitset<256> verified;  // read back and found right since load or write; never stored
    bool changed = false;
  };
  struct Block {
    int64_t index;
    uint32_t crc;
  };
  using Fd = std::shared_ptr<UniqueFd>;
  // What one attempt of read() needs to know; taken under the lock.
  struct ReadPlan {
    std::vector<Block> check;  // blocks of the range with a known CRC that were not verified yet
    uint64_t clears;
  };

  Result<Fd> acquire();
  void note_lost() EXCLUDES(mu_);
  Result<UniqueFd> open_existing();
  struct Opened {
    UniqueFd fd;
    int64_t bytes = 0;
  };
  Result<Opened> open_as_it_is();

  int64_t block_bytes(int64_t block) const { return std::min(kCrcBlock, size_ - block * kCrcBlock); }
  bool block_complete(int64_t block) const REQUIRES(mu_);
  CrcChunk& crc_chunk(uint32_t chunk) REQUIRES(mu_);
  // The block's CRC if one is known and the block is complete.
  std::optional<uint32_t> crc_of(int64_t block) const REQUIRES(mu_);
  bool verified(int64_t block) const REQUIRES(mu_);
  void set_verified(int64_t block, bool yes) REQUIRES(mu_);
  void set_crc(Block block) REQUIRES(mu_);
  void touch_crcs(uint32_t chunk) REQUIRES(mu_);
  // Clears pages and CRCs whatever registered() says.
  int64_t drop(int64_t offset, int64_t length) REQUIRES(mu_);

  void begin_write(Run run) EXCLUDES(mu_);
  void complete_block(const UniqueFd& fd, int64_t block);

  Result<ReadPlan> plan_read(int64_t offset, int64_t length, bool verify) const;
  // Reads `out` and sorts the plan's blocks that do not match into `bad`. kIo, or kCorrupt for a file cut
  // short.
  Status attempt_read(const UniqueFd& fd, const ReadPlan& plan, int64_t offset, std::span<std::byte> out,
                      std::vector<Block>& bad);
  // Takes an attempt's outcome in. True: the bytes are good; false: something moved meanwhile, try again.
  Result<bool> settle_read(const ReadPlan& plan, const std::vector<Block>& bad);
  Error read_error(ssize_t failed) const;
  // Gives up what cannot be read, so that it is fetched again; a registered file keeps its bits.
  Error give_up(int64_t offset, int64_t length, Error why);

  CacheDir& dir_;
  FdCache& fds_;
  const uint64_t fid_;
  const int64_t size_;
  mutable Mutex mu_;
  CondVar punched_;
  PageMap map_ GUARDED_BY(mu_);
  std::map<uint32_t, CrcChunk> crcs_ GUARDED_BY(mu_);
  std::vector<uint32_t> changed_crcs_ GUARDED_BY(mu_);
  std::vector<Run> writing_ GUARDED_BY(mu_);   // bytes on their way into the file
  std::vector<Run> punching_ GUARDED_BY(mu_);  // writers of these wait
  uint64_t clears_ GUARDED_BY(mu_) = 0;        // a read that saw two values of it is done again
  bool created_ GUARDED_BY(mu_);               // the file is still to be made
  bool lost_ GUARDED_BY(mu_) = false;
  bool registered_ GUARDED_BY(mu_) = false;
};

}  // namespace s3cache::cache
