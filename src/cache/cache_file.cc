// CacheFile: the file, what is written to it, what the store is told. The read side is in cache_file_read.cc.
#include "cache/cache_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/crash_point.h"
#include "base/crc32c.h"
#include "cache/file_io.h"

namespace s3cache::cache {

namespace {

constexpr int64_t kBlocksPerChunk = kCrcChunk / kCrcBlock;
// Checksummed, then written: small enough that the write finds the bytes in the processor's own cache.
constexpr int64_t kSlice = 256 << 10;
static_assert(kSlice % kCrcBlock == 0);

uint32_t chunk_of(int64_t block) { return static_cast<uint32_t>(block / kBlocksPerChunk); }
size_t slot_of(int64_t block) { return static_cast<size_t>(block % kBlocksPerChunk); }

bool overlaps(const std::vector<Run>& runs, Run run) {
  return std::any_of(runs.begin(), runs.end(), [&](const Run& r) {
    return r.offset < run.offset + run.length && run.offset < r.offset + r.length;
  });
}

void remove_one(std::vector<Run>& runs, Run run) { runs.erase(std::find(runs.begin(), runs.end(), run)); }

}  // namespace

CacheFile::CacheFile(CacheDir& dir, FdCache& fds, uint64_t fid, int64_t size, bool created)
    : dir_(dir), fds_(fds), fid_(fid), size_(size), map_(size), created_(created) {}

CacheFile::~CacheFile() = default;

bool CacheFile::covers(int64_t offset, int64_t length) const {
  MutexLock lock(mu_);
  return map_.covers(offset, length);
}

std::vector<Run> CacheFile::missing(int64_t offset, int64_t length) const {
  MutexLock lock(mu_);
  return map_.missing(offset, length);
}

bool CacheFile::full() const {
  MutexLock lock(mu_);
  return map_.full();
}

int64_t CacheFile::valid_bytes() const {
  MutexLock lock(mu_);
  return map_.valid_bytes();
}

void CacheFile::set_registered() {
  MutexLock lock(mu_);
  registered_ = true;
}

bool CacheFile::registered() const {
  MutexLock lock(mu_);
  return registered_;
}

bool CacheFile::lost() const {
  MutexLock lock(mu_);
  return lost_;
}

bool CacheFile::made() const {
  MutexLock lock(mu_);
  return !created_;
}

Result<CacheFile::Fd> CacheFile::acquire() {
  bool make;
  {
    MutexLock lock(mu_);
    make = created_;
  }
  auto fd = fds_.acquire(fid_, [this, make]() -> Result<UniqueFd> {
    if (!make) return open_existing();
    Result<UniqueFd> made = dir_.create_file(fid_, size_);
    if (!made.is(Code::kExists)) return made;
    // Another thread was faster, or a crash fell between making the file and its record: the size is set by
    // whoever gets here, for its maker may not have come to it yet.
    made = dir_.open_file(fid_, true);
    if (made.ok() && ::ftruncate(made->get(), size_) != 0)
      return errno_error(errno, "resize " + dir_.file_path(fid_));
    return made;
  });
  if (!fd.ok() && fd.is(Code::kNotFound) && !make) note_lost();
  if (fd.ok() && make) {
    MutexLock lock(mu_);
    created_ = false;
  }
  return fd;
}

void CacheFile::note_lost() {
  MutexLock lock(mu_);
  lost_ = true;
  if (!registered_) drop(0, size_);
}

// Opens the file of an earlier mount and checks that its size is still the object's.
Result<UniqueFd> CacheFile::open_existing() {
  auto file = open_as_it_is();
  if (!file.ok()) return file.error();
  if (file->bytes == size_) return std::move(file->fd);
  {
    MutexLock lock(mu_);
    if (registered_)
      return Error{Code::kCorrupt,
                   fmt::format("{} has {} bytes instead of {}", dir_.file_path(fid_), file->bytes, size_)};
    drop(file->bytes, size_);  // what was cut off would read as zeros
  }
  if (::ftruncate(file->fd.get(), size_) != 0) return errno_error(errno, "resize " + dir_.file_path(fid_));
  return std::move(file->fd);
}

Result<CacheFile::Opened> CacheFile::open_as_it_is() {
  Result<UniqueFd> fd = dir_.open_file(fid_, true);
  if (!fd.ok()) return fd.error();
  struct stat st;
  if (::fstat(fd->get(), &st) != 0) return errno_error(errno, "stat " + dir_.file_path(fid_));
  return Opened{std::move(*fd), st.st_size};
}

bool CacheFile::block_complete(int64_t block) const { return map_.covers(block * kCrcBlock, kCrcBlock); }

CacheFile::CrcChunk& CacheFile::crc_chunk(uint32_t chunk) {
  CrcChunk& c = crcs_[chunk];
  const int64_t blocks = (size_ + kCrcBlock - 1) / kCrcBlock - int64_t{chunk} * kBlocksPerChunk;
  if (c.crc.empty()) c.crc.resize(static_cast<size_t>(std::clamp<int64_t>(blocks, 0, kBlocksPerChunk)));
  return c;
}

std::optional<uint32_t> CacheFile::crc_of(int64_t block) const {
  const auto it = crcs_.find(chunk_of(block));
  if (it == crcs_.end() || !it->second.known[slot_of(block)] || !block_complete(block)) return std::nullopt;
  return it->second.crc[slot_of(block)];
}

bool CacheFile::verified(int64_t block) const {
  const auto it = crcs_.find(chunk_of(block));
  return it != crcs_.end() && it->second.verified[slot_of(block)];
}

void CacheFile::set_verified(int64_t block, bool yes) {
  if (const auto it = crcs_.find(chunk_of(block)); it != crcs_.end())
    it->second.verified[slot_of(block)] = yes;
}

void CacheFile::touch_crcs(uint32_t chunk) {
  CrcChunk& c = crc_chunk(chunk);
  if (c.changed) return;
  c.changed = true;
  changed_crcs_.push_back(chunk);
}

void CacheFile::set_crc(Block block) {
  CrcChunk& c = crc_chunk(chunk_of(block.index));
  const size_t slot = slot_of(block.index);
  c.verified[slot] = false;
  if (c.known[slot] && c.crc[slot] == block.crc) return;
  c.known[slot] = true;
  c.crc[slot] = block.crc;
  touch_crcs(chunk_of(block.index));
}

int64_t CacheFile::drop(int64_t offset, int64_t length) {
  const int64_t cleared = map_.clear(offset, length);
  if (length <= 0 || offset >= size_) return cleared;
  const int64_t first = std::max<int64_t>(offset, 0) / kCrcBlock;
  const int64_t last = (std::min(length, size_ - offset) + offset - 1) / kCrcBlock;
  for (auto it = crcs_.lower_bound(chunk_of(first)); it != crcs_.end() && it->first <= chunk_of(last); ++it) {
    const int64_t base = int64_t{it->first} * kBlocksPerChunk;
    bool changed = false;
    for (int64_t b = std::max(first, base); b <= std::min(last, base + kBlocksPerChunk - 1); b++) {
      changed = changed || it->second.known[slot_of(b)];
      it->second.known[slot_of(b)] = false;
      it->second.verified[slot_of(b)] = false;
    }
    if (changed) touch_crcs(it->first);
  }
  clears_++;
  return cleared;
}

void CacheFile::begin_write(Run run) {
  MutexLock lock(mu_);
  while (overlaps(punching_, run)) punched_.wait(mu_);
  writing_.push_back(run);
}

Result<int64_t> CacheFile::write(int64_t offset, std::span<const std::byte> data) {
  const Run run{offset, static_cast<int64_t>(data.size())};
  const int64_t end = offset + run.length;
  if (offset < 0 || offset % kPage != 0 || end > size_ || (end % kPage != 0 && end != size_))
    return Error{Code::kInvalid, fmt::format("cache file {:016x}: write of {} bytes at {}, size {}", fid_,
                                             run.length, offset, size_)};
  if (registered())
    return Error{Code::kInvalid, fmt::format("cache file {:016x} is registered: immutable", fid_)};
  if (run.length == 0) return int64_t{0};
  const Result<Fd> fd = acquire();
  if (!fd.ok()) return fd.error();

  const int64_t first = offset / kCrcBlock, last = (end - 1) / kCrcBlock;
  std::vector<Block> whole;
  begin_write(run);
  Status written;
  for (int64_t at = offset; at < end && written.ok();) {
    const int64_t stop = std::min(end, (at / kSlice + 1) * kSlice);
    for (int64_t b = (at + kCrcBlock - 1) / kCrcBlock; b * kCrcBlock + block_bytes(b) <= stop && b <= last;
         b++)
      whole.push_back(
          {b, crc32c(0, data.data() + (b * kCrcBlock - offset), static_cast<size_t>(block_bytes(b)))});
    written = write_all((*fd)->get(), at, data.subspan(at - offset, stop - at), dir_.file_path(fid_));
    at = stop;
  }
  crash_point("page-bytes");
  std::vector<int64_t> assembled;  // at most two: complete now, from this and earlier writes
  int64_t marked = 0;
  {
    MutexLock lock(mu_);
    remove_one(writing_, run);
    if (!written.ok()) return written.error();
    marked = map_.mark(offset, run.length);
    for (const Block& b : whole) set_crc(b);
    for (int64_t b : {first, last}) {
      if (!whole.empty() && b >= whole.front().index && b <= whole.back().index) continue;
      // A known CRC stays and is checked anew: if this write brought other bytes, the block is fetched again.
      set_verified(b, false);
      if (block_complete(b) && !crc_of(b) && (assembled.empty() || assembled.back() != b))
        assembled.push_back(b);
    }
  }
  for (int64_t b : assembled) complete_block(**fd, b);
  return marked;
}

// Reads the block back once, out of the page cache in practice: simpler than keeping the CRC of every piece.
void CacheFile::complete_block(const UniqueFd& fd, int64_t block) {
  uint64_t clears;
  {
    MutexLock lock(mu_);
    if (!block_complete(block)) return;
    clears = clears_;
  }
  const size_t n = static_cast<size_t>(block_bytes(block));
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(n);
  const ssize_t got = read_fully(fd.get(), block * kCrcBlock, {buffer.get(), n});
  if (got != static_cast<ssize_t>(n))
    return;  // without a CRC the block is valid still; its reader meets the error
  const uint32_t crc = crc32c(0, buffer.get(), n);
  MutexLock lock(mu_);
  if (clears == clears_ && block_complete(block) && !crc_of(block)) set_crc({block, crc});
}

int64_t CacheFile::clear(int64_t offset, int64_t length) {
  MutexLock lock(mu_);
  return registered_ ? 0 : drop(offset, length);
}

Status CacheFile::punch(int64_t offset, int64_t length) {
  const int64_t begin = (std::max<int64_t>(offset, 0) + kPage - 1) / kPage * kPage;
  int64_t end = offset >= size_ ? size_ : offset + std::min(length, size_ - offset);
  if (end < size_) end = end / kPage * kPage;
  if (begin >= end) return {};
  const Run run{begin, end - begin};
  {
    MutexLock lock(mu_);
    if (registered_)
      return Error{Code::kInvalid, fmt::format("cache file {:016x} is registered: immutable", fid_)};
    const std::vector<Run> holes = map_.missing(run.offset, run.length);
    if (overlaps(writing_, run) || holes.size() != 1 || holes[0] != run)
      return Error{Code::kBusy, fmt::format("cache file {:016x}: pages at {} are in use", fid_, begin)};
    punching_.push_back(run);
  }
  const Result<Fd> fd = acquire();
  Status result;
  if (!fd.ok()) {
    result = fd.error();
  } else if (::fallocate((*fd)->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, run.offset, run.length) !=
             0) {
    result = errno_error(errno, "punch " + dir_.file_path(fid_));
  }
  MutexLock lock(mu_);
  remove_one(punching_, run);
  punched_.notify_all();
  return result;
}

CacheChanges CacheFile::take_changes() {
  CacheChanges out;
  MutexLock lock(mu_);
  for (uint32_t chunk : map_.take_changed()) out.maps.emplace_back(chunk, map_.chunk_bits(chunk));
  for (uint32_t chunk : changed_crcs_) {
    CrcChunk& c = crc_chunk(chunk);
    c.changed = false;
    CacheChanges::Crcs& stored = out.crcs.emplace_back();
    stored.chunk = chunk;
    for (size_t i = 0; i < kBlocksPerChunk; i++) {
      stored.known[i] = c.known[i];
      stored.crc[i] = c.known[i] ? c.crc[i] : 0;
    }
  }
  changed_crcs_.clear();
  out.valid_bytes = map_.valid_bytes();
  return out;
}

void CacheFile::put_back_changes(const CacheChanges& changes) {
  MutexLock lock(mu_);
  for (const auto& [chunk, bits] : changes.maps) map_.touch(chunk);
  for (const auto& crcs : changes.crcs) touch_crcs(crcs.chunk);
}

void CacheFile::load_map(uint32_t chunk, std::string_view bits) {
  MutexLock lock(mu_);
  map_.load_chunk(chunk, bits);
}

void CacheFile::load_full() {
  MutexLock lock(mu_);
  map_.mark(0, size_);
  map_.take_changed();  // that is how the store knows it already
}

void CacheFile::load_crcs(const CacheChanges::Crcs& crcs) {
  MutexLock lock(mu_);
  if (int64_t{crcs.chunk} * kCrcChunk >= size_) return;
  CrcChunk& c = crc_chunk(crcs.chunk);
  c.verified.reset();
  for (size_t i = 0; i < c.crc.size(); i++) {
    c.known[i] = crcs.known[i];
    c.crc[i] = crcs.crc[i];
  }
}

Status CacheFile::fdatasync() {
  {
    MutexLock lock(mu_);
    if (created_) return {};  // never written
  }
  const Result<Fd> fd = acquire();
  if (!fd.ok()) return fd.error();
  if (::fdatasync((*fd)->get()) != 0) return errno_error(errno, "fdatasync " + dir_.file_path(fid_));
  return {};
}

Result<UniqueFd> CacheFile::open_readonly() {
  bool make;
  {
    MutexLock lock(mu_);
    make = created_;
  }
  // Not through acquire() where the file is there: a second descriptor beside this one made an open of a warm
  // file a fifth dearer.
  if (make) {
    if (const Result<Fd> made = acquire(); !made.ok()) return made.error();
  }
  Result<UniqueFd> fd = dir_.open_file(fid_, false);
  if (!fd.ok()) {
    if (fd.is(Code::kNotFound)) note_lost();
    return fd;
  }
  struct stat st;
  if (::fstat(fd->get(), &st) != 0) return errno_error(errno, "stat " + dir_.file_path(fid_));
  if (st.st_size != size_)
    return Error{Code::kCorrupt,
                 fmt::format("{} has {} bytes instead of {}", dir_.file_path(fid_), st.st_size, size_)};
  return fd;
}

void CacheFile::drop_page_cache(int64_t offset, int64_t length) {
  if (valid_bytes() == 0) return;
  const Result<Fd> fd = acquire();
  if (fd.ok()) ::posix_fadvise((*fd)->get(), offset, length, POSIX_FADV_DONTNEED);
}

}  // namespace s3cache::cache
