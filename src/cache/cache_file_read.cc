// CacheFile: reading and verifying.
#include <fmt/format.h>

#include "base/crc32c.h"
#include "cache/cache_file.h"
#include "cache/file_io.h"

namespace s3cache::cache {

namespace {

// A read is done again when pages were cleared under it. Clears come from eviction of cold chunks: two in a
// row for a file being read are rare already.
constexpr int kMaxAttempts = 4;

// A read this large is a stream's. What is asked of the disk ahead of it: 4 MiB kept a disk of 2 GB/s busy.
constexpr size_t kStream = 128 << 10;
constexpr int64_t kDiskWindow = 4 << 20;

std::unique_ptr<std::byte[]> block_buffer() { return std::make_unique_for_overwrite<std::byte[]>(kCrcBlock); }

}  // namespace

Result<CacheFile::ReadPlan> CacheFile::plan_read(int64_t offset, int64_t length, bool verify) const {
  MutexLock lock(mu_);
  if (!map_.covers(offset, length))
    return Error{Code::kNotFound,
                 fmt::format("cache file {:016x}: {} bytes at {} are not cached", fid_, length, offset)};
  ReadPlan plan{{}, clears_};
  if (!verify) return plan;
  for (int64_t b = offset / kCrcBlock; b <= (offset + length - 1) / kCrcBlock; b++)
    if (!verified(b))
      if (const auto crc = crc_of(b)) plan.check.push_back({b, *crc});
  return plan;
}

Error CacheFile::read_error(ssize_t failed) const {
  return errno_error(static_cast<int>(-failed), "read " + dir_.file_path(fid_));
}

Error CacheFile::give_up(int64_t offset, int64_t length, Error why) {
  MutexLock lock(mu_);
  if (!registered_) drop(offset, length);
  return why;
}

Status CacheFile::attempt_read(const UniqueFd& fd, const ReadPlan& plan, int64_t offset,
                               std::span<std::byte> out, std::vector<Block>& bad) {
  const int64_t end = offset + static_cast<int64_t>(out.size());
  const auto inside = [&](const Block& b) {
    return b.index * kCrcBlock >= offset && b.index * kCrcBlock + block_bytes(b.index) <= end;
  };
  std::unique_ptr<std::byte[]> buffer;
  // Blocks the read touches in part come first: a cold 4 KiB read then costs one disk access (64 KiB), not
  // two.
  for (const Block& b : plan.check) {
    if (inside(b)) continue;
    if (!buffer) buffer = block_buffer();
    const size_t n = static_cast<size_t>(block_bytes(b.index));
    const ssize_t got = read_fully(fd.get(), b.index * kCrcBlock, {buffer.get(), n});
    if (got < 0) return give_up(b.index * kCrcBlock, kCrcBlock, read_error(got));
    if (got != static_cast<ssize_t>(n) || crc32c(0, buffer.get(), n) != b.crc) bad.push_back(b);
  }
  const ssize_t got = out.size() >= kStream ? read_with_ahead(fd.get(), offset, out, kDiskWindow)
                                            : read_fully(fd.get(), offset, out);
  if (got < 0) return give_up(offset, end - offset, read_error(got));
  if (got != static_cast<ssize_t>(out.size()))
    return give_up(offset + got, size_, Error{Code::kCorrupt, dir_.file_path(fid_) + " was cut short"});
  for (const Block& b : plan.check)
    if (inside(b) && crc32c(0, out.data() + (b.index * kCrcBlock - offset),
                            static_cast<size_t>(block_bytes(b.index))) != b.crc)
      bad.push_back(b);
  return {};
}

Result<bool> CacheFile::settle_read(const ReadPlan& plan, const std::vector<Block>& bad) {
  MutexLock lock(mu_);
  if (clears_ != plan.clears) return false;
  for (const Block& b : bad)
    if (crc_of(b.index) != b.crc) return false;  // written anew meanwhile
  for (const Block& b : plan.check)
    if (crc_of(b.index) == b.crc) set_verified(b.index, true);
  if (bad.empty()) return true;
  for (const Block& b : bad) {
    set_verified(b.index, false);
    if (!registered_) drop(b.index * kCrcBlock, kCrcBlock);
  }
  return Error{Code::kCorrupt,
               fmt::format("cache file {:016x}: block {} (64 KiB) fails its checksum{}", fid_,
                           bad.front().index, registered_ ? "; registered, so kept as it is" : "")};
}

Result<size_t> CacheFile::read(int64_t offset, std::span<std::byte> out, bool verify) {
  if (offset < 0) return Error{Code::kInvalid, fmt::format("cache file {:016x}: read at {}", fid_, offset)};
  if (offset >= size_ || out.empty()) return size_t{0};
  out = out.first(static_cast<size_t>(std::min(static_cast<int64_t>(out.size()), size_ - offset)));
  for (int attempt = 0; attempt < kMaxAttempts; attempt++) {
    // Before the descriptor: a read of what was never written must not make the file.
    const Result<ReadPlan> plan = plan_read(offset, static_cast<int64_t>(out.size()), verify);
    if (!plan.ok()) return plan.error();
    const Result<Fd> fd = acquire();
    if (!fd.ok()) return fd.error();
    std::vector<Block> bad;
    if (Status s = attempt_read(**fd, *plan, offset, out, bad); !s.ok()) return s.error();
    const Result<bool> good = settle_read(*plan, bad);
    if (!good.ok()) return good.error();
    if (*good) return out.size();
  }
  return Error{Code::kNotFound, fmt::format("cache file {:016x}: pages at {} keep moving", fid_, offset)};
}

Result<std::vector<Run>> CacheFile::scrub(int64_t offset, int64_t length) {
  std::vector<Run> bad_runs;
  offset = std::max<int64_t>(offset, 0);
  if (offset >= size_ || length <= 0) return bad_runs;
  if (valid_bytes() == 0) return bad_runs;
  const Result<Fd> fd = acquire();
  if (!fd.ok()) return fd.error();
  const auto buffer = block_buffer();
  const int64_t last = (offset + std::min(length, size_ - offset) - 1) / kCrcBlock;
  for (int64_t b = offset / kCrcBlock; b <= last; b++) {
    ReadPlan plan{{}, 0};
    {
      MutexLock lock(mu_);
      plan.clears = clears_;
      if (const auto crc = crc_of(b)) plan.check.push_back({b, *crc});
    }
    if (plan.check.empty()) continue;
    std::vector<Block> bad;
    const size_t n = static_cast<size_t>(block_bytes(b));
    const Status read = attempt_read(**fd, plan, b * kCrcBlock, {buffer.get(), n}, bad);
    // A block that moved meanwhile (false) is left to the next round.
    if (!read.ok() || !settle_read(plan, bad).ok())
      bad_runs.push_back({b * kCrcBlock, static_cast<int64_t>(n)});
  }
  return bad_runs;
}

Result<int64_t> CacheFile::absorb(int64_t offset, int64_t length) {
  const Result<Fd> fd = fds_.acquire(fid_, [this]() -> Result<UniqueFd> {
    auto file = open_as_it_is();
    if (!file.ok()) return file.error();
    if (file->bytes == size_) return std::move(file->fd);
    return Error{Code::kBusy, dir_.file_path(fid_) + " is being written"};
  });
  if (!fd.ok()) return fd.error();
  int64_t marked = 0;
  {
    MutexLock lock(mu_);
    marked = map_.mark(offset, length);
  }
  for (int64_t b = offset / kCrcBlock; b * kCrcBlock < offset + length; b++) complete_block(**fd, b);
  return marked;
}

}  // namespace s3cache::cache
