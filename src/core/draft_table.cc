#include "core/draft_table.h"

#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/draft_journal.h"
#include "core/namespace_context.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;
using meta::Table;

DraftTable::DraftTable(const Parts& parts, const UploadOptions& options, int64_t mem_limit)
    : inodes_(parts.inodes),
      store_(parts.inodes.store()),
      contents_(parts.contents),
      dir_(parts.dir),
      space_(parts.space),
      workers_(parts.workers),
      queue_(parts.queue),
      s3_(parts.s3),
      clock_(parts.clock),
      listener_(parts.listener),
      options_(options),
      uploader_(s3_, store_, workers_, clock_, options),
      copier_(s3_, options_),
      waiting_(mem_limit) {
  contents_.on_closed([this](uint64_t ino) {
    object_unneeded(ino);
    readers_gone(ino);
  });
  retrier_ = std::thread([this] { retry_loop(); });
}

DraftTable::~DraftTable() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    wake_.notify_all();
  }
  retrier_.join();
  contents_.on_closed(nullptr);
  std::unordered_map<uint64_t, std::shared_ptr<Draft>> left;
  {
    MutexLock lock(mu_);
    left.swap(drafts_);
  }
  for (const auto& [ino, draft] : left) {
    if (!draft->begun() || draft->unlinked() || !draft->dirty()) continue;
    if (Status s = persist(*draft); !s.ok()) log::error("unsaved file {}: {}", ino, s.error().message);
  }
  (void)store_.flush();  // what it was to tell us
}

std::shared_ptr<Draft> DraftTable::find(uint64_t ino) {
  if (count_.load(std::memory_order_acquire) == 0) return nullptr;
  MutexLock lock(mu_);
  const auto it = drafts_.find(ino);
  return it == drafts_.end() ? nullptr : it->second;
}

std::shared_ptr<Draft> DraftTable::open(uint64_t ino, uint64_t version, bool fresh, bool exclusive) {
  MutexLock lock(mu_);
  auto& slot = drafts_[ino];
  // One that never began stands for a version that was replaced on the server: its handles will hear of it.
  if (slot && slot->version() != version && !slot->begun()) slot.reset();
  if (!slot) {
    slot = std::make_shared<Draft>(*this, ino, version);
    if (fresh) {
      slot->fresh = true;
      slot->exclusive = exclusive;
      slot->attributes_changed();
    }
  }
  ++slot->writers;
  count_.store(drafts_.size(), std::memory_order_release);
  return slot;
}

std::shared_ptr<Draft> DraftTable::open_created(uint64_t ino, uint64_t version, bool exclusive) {
  // On record before anything of it: a crash must not leave a name that is nowhere else.
  Batch batch;
  put_draft_mark(batch, ino, {}, false);
  store_.apply(std::move(batch));
  crash_point("create-marked");
  return open(ino, version, true, exclusive);
}

void DraftTable::close(const std::shared_ptr<Draft>& draft) {
  {
    MutexLock lock(mu_);
    if (--draft->writers > 0) return;
  }
  if (draft->unlinked()) {
    discard(draft);
    return handle_closed(draft->ino());
  }
  if (!draft->dirty()) return drop_if_idle(draft);
  // A new file that nobody wrote, or pages that a mapping wrote after the last close(2).
  upload(draft, [ino = draft->ino()](const Status& saved) {
    if (!saved.ok() && !saved.is(Code::kCancelled))
      log::warn("inode {}: not saved yet: {}", ino, saved.error().message);
  });
}

void DraftTable::drop_if_idle(const std::shared_ptr<Draft>& draft) {
  MutexLock lock(mu_);
  const auto it = drafts_.find(draft->ino());
  if (it == drafts_.end() || it->second != draft) return;
  if (draft->writers > 0 || draft->saving || draft->begun() || draft->dirty()) return;
  drafts_.erase(it);
  count_.store(drafts_.size(), std::memory_order_release);
}

std::shared_ptr<Draft> DraftTable::active(uint64_t ino, uint64_t version) {
  auto draft = find(ino);
  return draft && draft->version() == version && draft->begun() ? draft : nullptr;
}

bool DraftTable::writing(uint64_t ino) {
  const auto draft = find(ino);
  if (!draft) return false;
  MutexLock lock(mu_);
  return draft->writers > 0 || draft->begun() || draft->dirty();
}

// --- the first change

Result<Draft::Start> DraftTable::start_of(const Inode& inode, uint64_t ino, bool truncating) {
  Draft::Start start;
  start.size = inode.size;
  start.base_etag = inode.etag;
  start.base_size = inode.size;
  std::shared_ptr<Content> content;
  if (inode.size > 0) {
    auto current = contents_.acquire(ino);
    if (current.ok() && (*current)->fid() != 0 && (*current)->handles() == 0 && !waiting_.empty()) {
      // As what the draft builds on it could not go any more: S3 has it, and the room is needed.
      const uint64_t fid = (*current)->fid();
      current = Error{Code::kNotFound, ""};
      space_.evict_idle(fid);
      current = contents_.acquire(ino);
    }
    if (!current.ok()) return current.error();
    content = std::move(*current);
  }
  if (content && content->sealed()) {
    auto file = dir_.open_file(content->fid(), true);
    if (file.ok() && contents_.supersede(content, true)) {
      start.fid = content->fid();
      start.file = std::make_shared<UniqueFd>(std::move(*file));
      start.whole = true;
      start.readers = content;
      return start;
    }
  }
  auto fid = store_.next_id();
  if (!fid.ok()) return fid.error();
  space_.policy().set_evictable(*fid, false);
  auto file = dir_.create_file(*fid, inode.size);
  if (!file.ok()) return file.error();
  start.fid = *fid;
  start.file = std::make_shared<UniqueFd>(std::move(*file));
  if (content) contents_.supersede(content, false);
  if (truncating) {
    start.base_len = 0;
  } else {
    start.base = std::move(content);
  }
  return start;
}

Status DraftTable::mark_local(const Draft& draft, Draft::Start& start, const Inode& inode) {
  Batch durable;
  if (start.whole) {
    // Intent before bytes: from here on nobody takes the file for the version it was.
    durable.put(Table::kFile, meta::id_key(start.fid),
                modified_file(draft.ino(), start, clock_.wall_s()).encode());
    if (Status s = store_.apply_durable(std::move(durable)); !s.ok()) return s;
    crash_point("draft-file-marked");
  }
  bool moved = false;
  const auto updated = inodes_.update(draft.ino(), [&](Inode& now, Batch& batch) {
    if (version_of(now) != draft.version()) {
      moved = true;
      return false;
    }
    // Copied since the caller looked: the same bytes.
    if (now.etag != start.base_etag) start.base_etag = now.etag;
    now.lineage = draft.version();
    now.source = meta::AttrSource::kLocal;
    now.kind_known = true;
    now.fid = start.fid;
    if (!draft.unlinked()) put_draft_mark(batch, draft.ino(), start, false);
    if ((now.flags & meta::kUnlinked) != 0) return true;  // the name may be somebody else's by now
    meta::Dirent dirent;
    dirent.ino = draft.ino();
    dirent.checked_at_ns = kPinned;
    batch.put(Table::kDirent, meta::dirent_key(now.parent, now.name, false), dirent.encode());
    return true;
  });
  if (moved) return Error{Code::kStale, inode.name + " was replaced on the server"};
  crash_point("draft-marked");
  // Unlinked while open: its record is gone, its handles go on.
  return updated.ok() || draft.unlinked() ? Status() : Status(updated.error());
}

Status DraftTable::begin(const std::shared_ptr<Draft>& draft, bool truncating) {
  if (draft->begun()) return {};
  MutexLock lock(draft->begin_mu);
  if (draft->begun()) return {};
  auto inode = inodes_.get(draft->ino());
  if (!inode.ok()) {
    if (!draft->unlinked()) return Error{Code::kStale, inode.error().message};
    inode = Inode();  // a new file, unlinked before its first byte
  } else if (version_of(*inode) != draft->version()) {
    return Error{Code::kStale, inode->name + " was replaced on the server"};
  }
  auto start = start_of(*inode, draft->ino(), truncating);
  if (!start.ok()) return start.error();
  if (Status s = mark_local(*draft, *start, *inode); !s.ok()) {
    if (!start->whole) space_.evict(start->fid);
    return s;
  }
  if (start->base && start->base->id().etag != start->base_etag)
    start->base = contents_.uncached(draft->ino(), start->base_etag, start->base_size);
  draft->begin(std::move(*start));
  return {};
}

// --- changes

template <class Change>
Result<int64_t> DraftTable::change(const std::shared_ptr<Draft>& draft, bool truncating,
                                   const Change& change) {
  for (;;) {
    if (Status s = begin(draft, truncating); !s.ok()) return s.error();
    auto size = change();
    if (size.is(Code::kBusy)) continue;  // saved and ended between the two
    if (size.ok()) changed(draft, *size);
    return size;
  }
}

Result<size_t> DraftTable::write(const std::shared_ptr<Draft>& draft, int64_t offset,
                                 std::span<const std::byte> data) {
  auto size = change(draft, false, [&] { return draft->write(offset, data); });
  if (!size.ok()) return size.error();
  stream(draft, offset + static_cast<int64_t>(data.size()));
  return data.size();
}

Result<size_t> DraftTable::append(const std::shared_ptr<Draft>& draft, std::span<const std::byte> data) {
  auto size = change(draft, false, [&] { return draft->append(data); });
  if (!size.ok()) return size.error();
  stream(draft, *size);
  return data.size();
}

Status DraftTable::truncate(const std::shared_ptr<Draft>& draft, int64_t size) {
  // A new file that nobody wrote stays one: its time alone moves.
  if (size == 0 && draft->fresh && !draft->begun() && draft->attributes_changed()) {
    changed(draft, 0);
    return {};
  }
  if (draft->durable && size < draft->size()) {
    if (Status s = record_cut(*draft, size); !s.ok()) return s;
  }
  auto now = change(draft, size == 0, [&] { return draft->truncate(size); });
  return now.ok() ? Status() : Status(now.error());
}

Status DraftTable::allocate(const std::shared_ptr<Draft>& draft, int mode, int64_t offset, int64_t length) {
  const bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int what = mode & ~FALLOC_FL_KEEP_SIZE;
  if (what != 0 && what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE)
    return Error{Code::kUnsupported, "this kind of fallocate"};
  if (what == 0 && keep) return {};  // room is promised by the cache's budget, byte by byte
  const auto act = [&]() -> Result<int64_t> {
    if (what != 0) return draft->zero(offset, length, !keep);
    return draft->size() >= offset + length ? draft->size() : draft->truncate(offset + length);
  };
  auto size = change(draft, false, act);
  return size.ok() ? Status() : Status(size.error());
}

// The record says the new size at once, and the time not much later: LOOKUP and GETATTR answer from it.
void DraftTable::changed(const std::shared_ptr<Draft>& draft, int64_t size) {
  constexpr int64_t kTimeStepNs = 5'000'000;
  const int64_t now = clock_.wall_ns();
  (void)inodes_.update(draft->ino(), [&](Inode& inode, Batch&) {
    if (inode.source != meta::AttrSource::kLocal || version_of(inode) != draft->version()) return false;
    if (inode.size == size && now - inode.mtime_ns < kTimeStepNs && now >= inode.mtime_ns) return false;
    inode.size = draft->size();
    inode.base_len = std::min(inode.base_len, inode.size);
    inode.mtime_ns = inode.ctime_ns = now;
    return true;
  });
}

bool DraftTable::take(uint64_t fid, int64_t bytes, bool for_upload) {
  return space_.take_for_draft(fid, bytes, for_upload);
}
void DraftTable::freed(uint64_t fid, int64_t bytes) { space_.shrunk(fid, bytes); }

Result<std::shared_ptr<UniqueFd>> DraftTable::scratch_file(int64_t bytes) {
  if (!space_.take_scratch(bytes)) return Error{Code::kNoSpace, "no room for a copy of a part"};
  const auto give_back = [this, bytes](UniqueFd* fd) {
    delete fd;
    space_.scratch_freed(bytes);
  };
  const std::shared_ptr<UniqueFd> out(new UniqueFd(), give_back);
  auto made = dir_.scratch_file();
  if (!made.ok()) return made.error();
  *out = std::move(*made);
  return out;
}

}  // namespace s3cache::core
