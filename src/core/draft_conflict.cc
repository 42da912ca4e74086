// A draft whose base is gone: its bytes are set aside.
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
