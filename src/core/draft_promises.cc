// What drafts promise besides their uploads, and how those end that have none.
#include <algorithm>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/draft_journal.h"
#include "core/draft_table.h"
#include "core/quarantine.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;
using meta::Table;

// Unlinked, and the last handle is gone: nothing of it is needed any more.
void DraftTable::discard(const std::shared_ptr<Draft>& draft) {
  if (readers_.any(draft->ino())) return;
  {
    MutexLock lock(mu_);
    const auto it = drafts_.find(draft->ino());
    if (it == drafts_.end() || it->second != draft || draft->writers > 0 || draft->saving) return;
    drafts_.erase(it);
    count_.store(drafts_.size(), std::memory_order_release);
  }
  // A part on its way would make the server keep what is aborted before it arrives.
  draft->session().when_idle([this, draft] { uploader_.abandon(*draft); });
  forget_draft_records(store_, draft->ino());
  drop_file(draft->state().fid);
  relieve();
}

// Its file goes when the end of its records is on disk: a mark that is left behind would promise bytes of a
// file that is gone, and keep the name for ever.
void DraftTable::drop_file(uint64_t fid) {
  if (fid == 0) return;
  store_.apply({}, [this, fid](const Status&) { workers_.post([this, fid] { space_.evict(fid); }); });
}

// Promised bytes that are cut off leave the records before they leave the file: after a crash in between what
// was promised would read as zeros.
Status DraftTable::record_cut(Draft& draft, int64_t size) {
  MutexLock lock(draft.begin_mu);
  (void)inodes_.update(draft.ino(), [&](Inode& inode, Batch& batch) {
    if (inode.source != meta::AttrSource::kLocal || version_of(inode) != draft.version()) return false;
    inode.size = std::min(inode.size, size);
    inode.base_len = std::min(inode.base_len, size);
    put_draft_cut(store_, batch, draft.ino(), size);
    return true;
  });
  return store_.flush();
}

// The version this draft builds on is gone: its bytes are set aside, the name shows the server's version.
void DraftTable::conflict(const std::shared_ptr<Draft>& draft, const Error& why) {
  auto inode = inodes_.get(draft->ino());
  auto key = inodes_.key_of(draft->ino());
  const Draft::State state = draft->state();
  if (!inode.ok() || !key.ok() || !state.begun) return;
  const Status kept = quarantine(dir_, *key, *draft);
  if (!kept.ok()) {
    log::error("{}: {}; its changes cannot be set aside ({}) and stay in the cache", *key, why.message,
               kept.error().message);
    return;
  }
  log::error("{}: {}; this mount's changes are set aside: s3cache recover list", *key, why.message);
  crash_point("conflict-set-aside");
  draft->mark_unlinked();
  (void)inodes_.update(draft->ino(), [&](Inode& now, Batch& batch) {
    now.source = meta::AttrSource::kListing;
    now.fid = 0;
    now.etag = "conflict";  // equal to no version: the server's own takes its place
    put_draft_end(store_, batch, draft->ino());
    meta::Dirent dirent;
    dirent.ino = draft->ino();
    dirent.checked_at_ns = -1;
    batch.put(Table::kDirent, meta::dirent_key(now.parent, now.name, false), dirent.encode());
    return true;
  });
  crash_point("conflict-recorded");
  if (listener_) listener_->inode_changed(draft->ino());
}

}  // namespace s3cache::core
