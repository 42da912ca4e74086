#include "core/cache_space.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "cache/cache_file.h"
#include "cache/page_map.h"
#include "core/content_records.h"
#include "meta/records.h"

namespace s3cache::core {

using meta::Batch;
using meta::Table;

namespace {

constexpr size_t kScanPage = 1024;
// Files counted before the mount answers (30 ms); more than that are counted behind its back, and nothing is
// cached until they are.
constexpr size_t kCountNow = 50'000;
// Of what the cache can come to: what files that are open leave for writers (an eighth), and files not saved
// yet for what their uploads read besides and for readers (a quarter).
constexpr int64_t kWritersShare = 8, kUploadsShare = 4;
// Versions that drafts build on may be cached until half of it is held: the other half is for the
// drafts' own files, whose uploads read the same bytes into them.
constexpr int64_t kPassingShare = 2;
constexpr int64_t kMiB = 1 << 20;
// The 256 folders of the fan-out, and what the store may grow by until it is looked at again.
constexpr int64_t kFolderBytes = 256 * 4096 + (3 << 20);

}  // namespace

CacheSpace::CacheSpace(meta::MetaStore& store, cache::CacheDir& dir, cache::FdCache& fds,
                       cache::Budget& budget, int64_t part_bytes)
    : store_(store),
      dir_(dir),
      fds_(fds),
      budget_(budget),
      policy_(budget.limit()),
      part_bytes_(part_bytes) {}

CacheSpace::~CacheSpace() {
  stopping_ = true;
  if (restorer_.joinable()) restorer_.join();
}

void CacheSpace::start_restore(uint64_t first_new_fid) {
  account_overhead();
  count_files(kCountNow, first_new_fid);
  restorer_ = std::thread([this, first_new_fid] { restore(first_new_fid); });
}

void CacheSpace::restore(uint64_t first_new_fid) {
  empty_trash();
  restore_files(first_new_fid);
  restored_.store(true, std::memory_order_release);
  remove_orphans(first_new_fid);
  // What a rebuild moved aside, a piece at a time so that an unmount need not wait for a million files.
  for (bool more = true; more && !stopping_;) {
    const auto purged = dir_.purge_trash(kScanPage);
    more = purged.ok() && *purged > 0;
  }
}

void CacheSpace::empty_trash() {
  std::vector<uint64_t> fids;
  Status scanned = store_.scan(Table::kTrash, "", "", SIZE_MAX, [&](std::string_view key, std::string_view) {
    if (key.size() == 8) fids.push_back(read_be64(key));
    return true;
  });
  if (!scanned.ok()) log::warn("cache: cannot read the trash: {}", scanned.error().message);
  for (uint64_t fid : fids) {
    if (!dir_.unlink_file(fid).ok()) continue;
    Batch batch;
    batch.erase(Table::kTrash, meta::id_key(fid));
    store_.apply(std::move(batch));
  }
}

void CacheSpace::count_files(size_t limit, uint64_t first_new_fid) {
  int64_t bytes = 0;
  bool more = true;
  while (more && !stopping_ && found_.size() < limit) {
    size_t visited = 0;
    Status scanned = store_.scan(Table::kFile, counted_to_, "", kScanPage,
                                 [&](std::string_view key, std::string_view value) {
                                   ++visited;
                                   counted_to_.assign(key);
                                   const auto file = meta::File::decode(value);
                                   const uint64_t fid = key.size() == 8 ? read_be64(key) : 0;
                                   if (!file || fid >= first_new_fid) return true;
                                   found_.push_back({file->last_used_s, fid, charge(file->valid_bytes)});
                                   bytes += found_.back().bytes;
                                   return true;
                                 });
    more = scanned.ok() && visited == kScanPage;
    counted_to_.push_back('\0');  // the smallest key behind the last one
  }
  budget_.add_used(bytes);
  if (!more) counted_.store(true, std::memory_order_release);
}

void CacheSpace::restore_files(uint64_t first_new_fid) {
  if (!counted_) count_files(SIZE_MAX, first_new_fid);
  const auto older = [](const Found& a, const Found& b) { return a.used_s < b.used_s; };
  std::sort(found_.begin(), found_.end(), older);
  for (const Found& seen : std::exchange(found_, {})) {
    MutexLock lock(mu_);
    budget_.add_used(-seen.bytes);          // counted one by one from here on
    const auto file = record_of(seen.fid);  // as of now: it may have been evicted since the scan
    if (!file) continue;
    count_in(seen.fid, *file);
    // An earlier version of its object: nobody asks for it again.
    if (!is_current(seen.fid, file->ino)) evict_locked(seen.fid);
  }
}

std::optional<meta::File> CacheSpace::record_of(uint64_t fid) {
  auto record = store_.get(Table::kFile, meta::id_key(fid));
  return record.ok() && record->has_value() ? meta::File::decode(**record) : std::nullopt;
}

void CacheSpace::count_in(uint64_t fid, const meta::File& file) {
  const int64_t bytes = charge(file.valid_bytes);
  if (policy_.restore(fid, file.key_hash, bytes)) budget_.add_used(bytes);
}

bool CacheSpace::adopt(uint64_t fid) {
  policy_.set_evictable(fid, false);
  if (restored()) return true;  // whoever had claimed it before leaves a file that is gone, which is noticed
  MutexLock lock(mu_);
  const auto file = record_of(fid);
  if (file) count_in(fid, *file);
  return file.has_value();
}

void CacheSpace::stored(uint64_t fid, uint64_t key, int64_t bytes) {
  budget_.commit(charge(bytes));
  policy_.grown(fid, key, charge(bytes));
}

// Files that are open cannot go: with all of the room theirs, nothing could be written until one closes.
bool CacheSpace::crowds_out_writers(int64_t bytes, bool passing) const {
  if (part_bytes_ == 0) return false;
  const int64_t reach = budget_.reach();
  const int64_t held = budget_.used() + budget_.reserved() - policy_.evictable_bytes();
  return held + bytes > reach - reach / (passing ? kPassingShare : kWritersShare);
}

bool CacheSpace::within_drafts_share(int64_t bytes) {
  const int64_t room = budget_.reach() - overhead_;
  const int64_t for_uploads = std::min(room / 2, std::max(room / kUploadsShare, part_bytes_ + kMiB));
  MutexLock lock(drafts_mu_);
  return drafts_bytes_ + bytes <= room - for_uploads;
}

bool CacheSpace::evict_for_disk(int64_t bytes) {
  if (!within_drafts_share(bytes) || budget_.shortfall(bytes) > 0) return false;
  MutexLock lock(mu_);
  const auto victims = policy_.oldest(bytes);
  for (const uint64_t victim : victims) evict_locked(victim);
  return !victims.empty();
}

void CacheSpace::draft_ended(uint64_t fid) {
  MutexLock lock(drafts_mu_);
  const auto it = drafts_.find(fid);
  if (it == drafts_.end()) return;
  drafts_bytes_ -= it->second;
  drafts_.erase(it);
}

bool CacheSpace::make_room(int64_t bytes) {
  if (budget_.reserve(bytes)) return true;
  MutexLock lock(mu_);
  for (uint64_t victim : policy_.oldest(budget_.shortfall(bytes))) evict_locked(victim);
  return budget_.reserve(bytes);
}

bool CacheSpace::take_scratch(int64_t bytes) {
  if (!make_room(charge(bytes))) return false;
  budget_.commit(charge(bytes));
  return true;
}

bool CacheSpace::take_for_draft(uint64_t fid, int64_t bytes, bool for_upload) {
  if (!for_upload && !within_drafts_share(bytes)) return false;
  if (!make_room(bytes)) return false;
  // Not evictable as long as the draft has it, so its place in the policy's order has no meaning yet.
  stored(fid, fid, bytes);
  MutexLock lock(drafts_mu_);
  drafts_[fid] += bytes;
  drafts_bytes_ += bytes;
  return true;
}

void CacheSpace::shrunk(uint64_t fid, int64_t bytes) {
  {
    MutexLock lock(drafts_mu_);
    const auto it = drafts_.find(fid);
    // Of a file that was cached before it was changed only what it grew by was taken.
    const int64_t taken = it == drafts_.end() ? 0 : std::min(bytes, it->second);
    if (taken > 0) it->second -= taken;
    drafts_bytes_ -= taken;
  }
  policy_.grown(fid, fid, -bytes);
  budget_.freed(bytes);
}

bool CacheSpace::is_current(uint64_t fid, uint64_t ino) {
  auto value = store_.get(Table::kInode, meta::id_key(ino));
  const auto inode = value.ok() && value->has_value() ? meta::Inode::decode(**value) : std::nullopt;
  return inode && inode->fid == fid;
}

// Files on disk that no record names: a crash fell between the file's first byte and its record's commit.
void CacheSpace::remove_orphans(uint64_t first_new_fid) {
  uint64_t removed = 0;
  Status walked = dir_.each_file([&](uint64_t fid) {
    if (stopping_ || fid >= first_new_fid) return;
    auto record = store_.get(Table::kFile, meta::id_key(fid));
    if (!record.ok() || record->has_value()) return;
    if (dir_.unlink_file(fid).ok()) ++removed;
  });
  if (!walked.ok()) log::warn("cache: {}", walked.error().message);
  if (removed > 0) log::info("cache: removed {} files that a crash left without a record", removed);
}

bool CacheSpace::reserve(uint64_t key, int64_t length, bool passing) {
  if (!counted_.load(std::memory_order_acquire)) return false;
  const int64_t bytes = charge(length);
  if (crowds_out_writers(bytes, passing)) return false;
  if (budget_.reserve(bytes)) return true;
  if (!restored()) return false;
  MutexLock lock(mu_);
  const int64_t shortfall = budget_.shortfall(bytes);
  if (shortfall > 0) {
    const auto admission = policy_.admit(key, bytes, shortfall);
    if (!admission.admit) return false;
    for (uint64_t fid : admission.victims) evict_locked(fid);
  }
  return budget_.reserve(bytes);
}

void CacheSpace::account_overhead() {
  struct stat ballast {};
  const bool has_ballast = ::stat((dir_.path() + "/ballast").c_str(), &ballast) == 0;
  const int64_t now = static_cast<int64_t>(store_.stats().file_bytes) +
                      (has_ballast ? ballast.st_blocks * 512 : 0) + kFolderBytes;
  MutexLock lock(mu_);
  if (now > overhead_) budget_.add_used(now - overhead_);
  if (now < overhead_) budget_.freed(overhead_ - now);
  overhead_ = now;
  // The store grew into a full cache: data makes room for it, whatever the policy thinks of a new-comer.
  if (!restored()) return;
  if (const int64_t over = budget_.shortfall(0); over > 0)
    for (uint64_t fid : policy_.oldest(over)) evict_locked(fid);
}

void CacheSpace::evict(uint64_t fid) {
  MutexLock lock(mu_);
  evict_locked(fid);
}

void CacheSpace::evict_idle(uint64_t fid) {
  MutexLock lock(mu_);
  if (policy_.claim(fid)) evict_locked(fid);
}

void CacheSpace::evict_locked(uint64_t fid) {
  draft_ended(fid);
  const std::string id = meta::id_key(fid);
  const auto file = record_of(fid);
  Batch batch;
  batch.erase(Table::kFile, id);
  if (file) {
    erase_chunks(batch, Table::kMap, fid, file->size);
    erase_chunks(batch, Table::kCrc, fid, file->size);
  }
  batch.put(Table::kTrash, id, "");
  store_.apply(std::move(batch));
  crash_point("evict-recorded");
  fds_.forget(fid);
  const int64_t bytes = policy_.removed(fid);
  if (const Status gone = dir_.unlink_file(fid); !gone.ok()) {
    log::warn("cache: {}", gone.error().message);
    return;  // the trash entry stays: the next start tries again, and the bytes still count
  }
  crash_point("evict-unlinked");
  Batch done;
  done.erase(Table::kTrash, id);
  store_.apply(std::move(done));
  budget_.freed(bytes);
}

}  // namespace s3cache::core
