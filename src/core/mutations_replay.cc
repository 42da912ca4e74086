// Replay: what the journal of an earlier mount holds, in its order.
#include "base/crash_point.h"
#include "base/log.h"
#include "core/mutations_impl.h"

namespace s3cache::core {

using meta::Inode;
using meta::Intent;

void MutationsImpl::replay() {
  auto entries = c_.journal.scan();
  if (!entries.ok()) {
    log::error("the journal of changes cannot be read: {}", entries.error().message);
    return;
  }
  for (const auto& [seq, intent] : *entries) {
    if (intent.op != Intent::Op::kRemove || intent.stage == 0) c_.edits.adopt(seq, intent);
  }
  for (const auto& [seq, intent] : *entries) resume(seq, intent);
}

void MutationsImpl::resume(uint64_t seq, const Intent& intent) {
  switch (intent.op) {
    case Intent::Op::kCreate:
      // A draft brings it to S3, or it never had a byte that was to last.
      if (c_.drafts.has_draft(intent.ino)) return;
      resume_lost(seq, intent);
      return;
    case Intent::Op::kMake:
      if (!intent.promised) return resume_lost(seq, intent);
      crash_point("replay-make");
      return maker_.resume(seq, intent);
    case Intent::Op::kRemove:
      crash_point("replay-remove");
      if (intent.stage == 1) return c_.edits.forget(seq, intent.ino);
      return removals_.start(seq, intent, true);
    case Intent::Op::kAttributes:
      crash_point("replay-attributes");
      return attributes_.resume(seq, intent);
    case Intent::Op::kRename:
    case Intent::Op::kRenameTree:
      return renames_.resume(seq, intent);
  }
}

// Nobody was told that it was made. S3 may have it all the same: then it stays.
void MutationsImpl::resume_lost(uint64_t seq, const Intent& intent) {
  crash_point("replay-unpromised");
  const auto inode = c_.ns.inodes.get(intent.ino);
  if (inode.ok() && !inode->etag.empty()) return c_.edits.doubt(seq, intent.ino);
  const uint64_t change = c_.ledger.begin();
  c_.ns.s3.head(intent.key, s3::Priority::kBackground,
                [this, seq, intent, change](const Result<s3::ObjectInfo>& info) {
                  if (info.is(Code::kNotFound)) {
                    c_.edits.retract(seq, intent.ino);
                  } else if (!info.is(Code::kCancelled)) {
                    c_.edits.doubt(seq, intent.ino);
                  }
                  c_.ledger.end(change);
                });
}

}  // namespace s3cache::core
