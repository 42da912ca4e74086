#include "core/content_table.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/content_records.h"
#include "core/draft_journal.h"

namespace s3cache::core {

namespace {

// How late the pages of a partial file may be recorded, and how often files become safe against a power cut.
constexpr auto kTick = std::chrono::milliseconds(100);
constexpr int64_t kSyncEveryMs = 30'000;
// The store grows by some MiB a second at most.
constexpr uint64_t kOverheadTicks = 2;
// Memory that went unused this long goes back to the system.
constexpr uint64_t kTrimTicks = 20;
// A fast download is recorded, durably, at least this often: what a SIGKILL makes it fetch again.
constexpr int64_t kRecordBytes = 8 << 20;
// Contents probed by a LOOKUP that wait for their OPEN: more than any number of threads between the two.
constexpr size_t kRecent = 256;
constexpr int64_t kRecentMs = 2'000;

uint64_t policy_key(const ContentId& id) { return id.ino * 0x9e3779b97f4a7c15U ^ id.version; }

}  // namespace

ContentTable::ContentTable(const Parts& parts, const ReadaheadOptions& readahead,
                           const NamespaceOptions& names, uint64_t distrust_below)
    : inodes_(parts.inodes),
      store_(parts.inodes.store()),
      dir_(parts.dir),
      fds_(parts.fds),
      space_(parts.space),
      fetcher_(parts.fetcher),
      workers_(parts.workers),
      clock_(parts.clock),
      readahead_(readahead),
      names_(names),
      distrust_below_(distrust_below),
      recent_(kRecent),
      ticker_([this] { tick(); }) {}

ContentTable::~ContentTable() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    wake_.notify_all();
  }
  ticker_.join();
  persist_all();
  std::vector<Recent> recent;
  MutexLock lock(mu_);
  recent.swap(recent_);
  lock.unlock();  // their destructors call closing()
}

std::shared_ptr<Content> ContentTable::find(const Key& key) {
  MutexLock lock(mu_);
  const auto it = contents_.find(key);
  return it == contents_.end() ? nullptr : it->second.lock();
}

Result<std::shared_ptr<Content>> ContentTable::acquire(uint64_t ino) {
  auto inode = inodes_.get(ino);
  if (!inode.ok()) return inode.error();
  if (inode->kind == meta::Kind::kDirectory)
    return Error{Code::kIsDirectory, inode->name + " is a directory"};
  if (auto content = find({ino, version_of(*inode)})) return content;
  auto key = inodes_.key_of(ino, *inode);
  if (!key.ok()) return key.error();
  return load(ino, *inode, std::move(*key));
}

Result<std::shared_ptr<Content>> ContentTable::load(uint64_t ino, const meta::Inode& inode, std::string key) {
  const Key where{ino, version_of(inode)};
  // Loading twice at once would make two CacheFiles of one fid: whoever is second takes the first one's.
  // A stripe each, as it waits for the disk: opens of other files go on.
  MutexLock loading(loading_[ino % loading_.size()]);
  if (auto content = find(where)) return content;
  bool sealed = false;
  auto file = load_file(ino, inode, &sealed);
  auto content = std::make_shared<Content>(
      *this, ContentId{ino, where.version, std::move(key), inode.etag, inode.size, inode.last_modified_s},
      entry_of(ino, inode, names_).attr, std::move(file), sealed, readahead_);
  {
    MutexLock lock(mu_);
    contents_[where] = content;
    // Under the lock, as closing() of an earlier one of the same file lets go of it.
    if (content->fid() != 0) space_.policy().set_evictable(content->fid(), false);
  }
  // Complete, but its seal was never recorded: killed between the two. Nothing else would come to seal it.
  if (!sealed && content->file() && content->file()->full()) progressed(*content, true);
  return content;
}

std::unique_ptr<cache::CacheFile> ContentTable::load_file(uint64_t ino, const meta::Inode& inode,
                                                          bool* sealed) {
  *sealed = false;
  if (inode.size == 0) return nullptr;
  // Its file is a draft's, which began between the caller's look and this one: not to be read, and never to
  // be taken for an old one and removed.
  if (has_draft_mark(store_, ino)) return nullptr;
  if (inode.fid != 0) {
    const auto record = read_file_record(store_, inode.fid);
    const bool trusted = record && record->etag == inode.etag && record->size == inode.size &&
                         (record->synced || inode.fid >= distrust_below_);
    struct stat st {};
    const bool on_disk =
        trusted && ::stat(dir_.file_path(inode.fid).c_str(), &st) == 0 && st.st_size == inode.size;
    if (on_disk && space_.adopt(inode.fid)) {
      auto file = std::make_unique<cache::CacheFile>(dir_, fds_, inode.fid, inode.size, false);
      *sealed = record->state == meta::FileState::kSealed;
      load_pages(store_, *file, *sealed);
      if (!*sealed) core::load_checksums(store_, *file);
      return file;
    }
    if (record) {
      MutexLock recording(record_mu_);
      space_.evict(inode.fid);
    }
  }
  auto fid = store_.next_id();
  if (!fid.ok()) {
    log::warn("cache: no file id: {}; reading without the cache", fid.error().message);
    return nullptr;
  }
  return std::make_unique<cache::CacheFile>(dir_, fds_, *fid, inode.size, true);
}

void ContentTable::load_checksums(Content& content) { core::load_checksums(store_, *content.file()); }

// Neither another version nor local changes: those mark the inode before they touch a byte.
bool ContentTable::unchanged(uint64_t ino, uint64_t fid) {
  const auto inode = inodes_.get(ino);
  if (!inode.ok() || inode->fid != fid || inode->source == meta::AttrSource::kLocal) return false;
  const auto record = read_file_record(store_, fid);
  return record && record->state == meta::FileState::kSealed;
}

std::shared_ptr<Content> ContentTable::take_for_scrub(uint64_t ino, uint64_t fid) {
  const auto inode = inodes_.get(ino);
  if (!inode.ok() || inode->kind != meta::Kind::kFile || !unchanged(ino, fid) || holds(ino, *inode))
    return nullptr;
  auto content = acquire(ino);
  if (!content.ok() || (*content)->fid() != fid || !(*content)->sealed()) return nullptr;
  core::load_checksums(store_, *(*content)->file());
  return std::move(*content);
}

bool ContentTable::scrub(Content& content, int64_t offset, int64_t length) {
  const auto bad = content.file()->scrub(offset, length);
  // Out of descriptors or of memory says nothing about the bytes.
  const bool good = bad.ok() ? bad->empty() : !bad.is(Code::kNotFound) && !bad.is(Code::kCorrupt);
  if (good || !unchanged(content.id().ino, content.fid())) {
    content.file()->drop_page_cache(offset, length);
    return true;
  }
  damaged(content);
  return false;
}

void ContentTable::opened(Content& content) {
  busy_at_ms_.store(clock_.mono_ms(), std::memory_order_relaxed);
  if (content.fid() == 0) return;
  space_.policy().accessed(content.fid(), policy_key(content.id()), content.id().size);
  space_.policy().set_evictable(content.fid(), false);
}

// Whoever holds it open goes on with it; nobody else finds it or its file any more, and with the last handle
// the file goes.
void ContentTable::forget(Content& content) {
  content.detach();
  {
    MutexLock recording(record_mu_);
    (void)inodes_.update(content.id().ino, [&](meta::Inode& inode, meta::Batch&) {
      if (inode.fid == 0 || inode.fid != content.fid()) return false;
      inode.fid = 0;
      return true;
    });
  }
  std::shared_ptr<Content> current;  // dies after the lock: a Content's end comes back to closing()
  MutexLock lock(mu_);
  const auto it = contents_.find({content.id().ino, content.id().version});
  current = it == contents_.end() ? nullptr : it->second.lock();
  if (current.get() == &content) contents_.erase(it);
  lock.unlock();
}

void ContentTable::damaged(Content& content) {
  // A reader that was under way when a local writer began to change the file in place.
  if (content.superseded()) return;
  log::warn("cache file {:016x} of {} is missing or damaged: it will be fetched again", content.fid(),
            content.id().key);
  forget(content);
  MutexLock recording(record_mu_);  // no record of it comes after its end
  space_.evict(content.fid());
}

ObjectSource ContentTable::source_of(const Content& content) {
  const ContentId& id = content.id();
  const auto inode = inodes_.get(id.ino);
  // In this order: once local writes have reached the record, the content has stepped aside before that.
  if (!inode.ok() || content.superseded() || version_of(*inode) != id.version) return {id.key, id.etag};
  auto key = inodes_.key_of(id.ino, *inode);
  return {key.ok() ? std::move(*key) : id.key, inode->etag};
}

bool ContentTable::start(const std::shared_ptr<Content>& content, const std::shared_ptr<Segment>& segment) {
  return fetcher_.start(content, segment);
}

bool ContentTable::reserve(Content& content, int64_t bytes) {
  return space_.reserve(policy_key(content.id()), bytes, content.superseded());
}

void ContentTable::stored(Content& content, int64_t bytes) {
  busy_at_ms_.store(clock_.mono_ms(), std::memory_order_relaxed);
  space_.stored(content.fid(), policy_key(content.id()), bytes);
}

void ContentTable::progressed(Content& content, bool full) {
  if (full) {
    if (!content.claim_seal()) return;
    crash_point("seal-before-record");
    record(content, true);
    crash_point("seal-recorded");
    content.mark_sealed();
    return;
  }
  if (content.sealed()) return;
  if (content.claim_unrecorded(kRecordBytes)) {
    record(content, false);
    store_.apply({}, [](const Status&) {});  // somebody waits: the writer commits now instead of gathering
    return;
  }
  if (!content.claim_move()) return;
  MutexLock lock(mu_);
  moved_.push_back(content.shared_from_this());
}

void ContentTable::record(Content& content, bool sealed) {
  MutexLock lock(record_mu_);
  if (content.detached() || (!sealed && content.sealed())) return;
  if (!write_content_record(inodes_, content, sealed, policy_key(content.id()), clock_.wall_s())) {
    content.detach();
    return;
  }
  content.mark_recorded();
  MutexLock list(mu_);
  unsynced_.push_back(content.fid());
}

void ContentTable::persist_all() {
  std::vector<std::shared_ptr<Content>> moved;
  {
    MutexLock lock(mu_);
    moved.swap(moved_);
  }
  for (const auto& content : moved) {
    content->end_move();
    record(*content, false);
  }
}

void ContentTable::kept_in_ram(const std::shared_ptr<Content>& content, int64_t offset) {
  fetcher_.kept_in_ram(content, offset);
}

void ContentTable::went_stale(Content& content) {
  forget(content);
  if (namespace_) namespace_->expire(content.id().ino);
}

void ContentTable::closing(Content& content) {
  settle_file(content);
  std::function<void(uint64_t)> hook;
  {
    MutexLock lock(hook_mu_);
    hook = closed_hook_;
  }
  if (hook) hook(content.id().ino);
}

// What becomes of the cache file now that nobody uses it through this content.
void ContentTable::settle_file(Content& content) {
  if (content.file_kept()) return;
  const uint64_t fid = content.fid();
  // Without a record, or of a version that is history: nobody would find its file again.
  const bool leftover = fid != 0 && (content.detached() || !content.recorded()) && content.file()->made();
  std::shared_ptr<Content> other;  // opened again meanwhile; dies after the lock
  {
    MutexLock lock(mu_);
    const auto it = contents_.find({content.id().ino, content.id().version});
    if (it != contents_.end()) other = it->second.lock();
    if (it != contents_.end() && !other) contents_.erase(it);
    if (fid == 0 || (other && other->fid() == fid)) return;
    if (!leftover) space_.policy().set_evictable(fid, true);
  }
  if (leftover) space_.evict(fid);
}

bool ContentTable::probe(uint64_t ino, const std::string& key, const meta::Inode& inode,
                         s3::HeadCallback on_headers) {
  if (inode.size <= 0 || inode.size > names_.small_file) return false;
  auto content = find({ino, version_of(inode)});
  if (!content) {
    auto loaded = load(ino, inode, key);
    if (!loaded.ok()) return false;
    content = std::move(*loaded);
  }
  if (content->sealed()) return false;
  {
    Recent oldest;
    MutexLock lock(mu_);
    if (recent_.empty()) return false;  // shutting down
    oldest = std::exchange(recent_[next_recent_], Recent{content, clock_.mono_ms()});
    next_recent_ = (next_recent_ + 1) % recent_.size();
    lock.unlock();
  }
  content->fetch_all(std::move(on_headers), nullptr);
  return true;
}

void ContentTable::drop_recent() {
  std::vector<std::shared_ptr<Content>> dropped;  // their destructors call closing()
  MutexLock lock(mu_);
  const int64_t now = clock_.mono_ms();
  for (Recent& recent : recent_) {
    if (recent.content && now - recent.at_ms >= kRecentMs) dropped.push_back(std::move(recent.content));
  }
  lock.unlock();
}

void ContentTable::housekeeping() {
  drop_recent();
  space_.account_overhead();
  // LMDB needs a few pages to commit anything at all, also the records of what was evicted to make room.
  if (store_.health().is(Code::kNoSpace)) {
    dir_.release_ballast();
  } else {
    dir_.restore_ballast();
  }
}

void ContentTable::tick() {
  int64_t synced_at = clock_.mono_ms();
  uint64_t ticks = 0;
  MutexLock lock(mu_);
  while (!stopping_) {
    wake_.wait_for(mu_, kTick);
    lock.unlock();
    persist_all();
    if (++ticks % kOverheadTicks == 0) housekeeping();
    if (ticks % kTrimTicks == 0) fetcher_.trim();
    if (clock_.mono_ms() - synced_at >= kSyncEveryMs) {
      sync_recent();
      synced_at = clock_.mono_ms();
    }
    lock.lock();
  }
}

void ContentTable::sync_recent() {
  std::vector<uint64_t> fids;
  {
    MutexLock lock(mu_);
    fids.swap(unsynced_);
  }
  if (fids.empty()) return;
  if (const Status synced = dir_.sync(); !synced.ok()) {
    log::warn("cache: {}", synced.error().message);
    return;
  }
  crash_point("sync-before-marks");
  MutexLock lock(record_mu_);
  mark_synced(store_, fids, [this](uint64_t fid) {
    // Recorded again while the sync ran: its newer pages are not on the platters yet.
    MutexLock list(mu_);
    return std::find(unsynced_.begin(), unsynced_.end(), fid) != unsynced_.end();
  });
}

}  // namespace s3cache::core
