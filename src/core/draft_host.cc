// What changes of names and attributes ask of drafts, and tell them.
#include <utility>

#include "core/draft_table.h"

namespace s3cache::core {

bool DraftTable::has_draft(uint64_t ino) {
  const auto draft = find(ino);
  return draft && (draft->begun() || draft->fresh) && !draft->unlinked();
}

bool DraftTable::attributes_changed(uint64_t ino, Callback<void> done) {
  const auto draft = find(ino);
  if (!draft || draft->unlinked()) return false;
  // An idle draft of an object that exists has no bytes to send with them.
  if (!draft->attributes_changed()) return false;
  bool unattended = false;
  {
    MutexLock lock(mu_);
    unattended = draft->writers == 0;
  }
  // Where an upload is on its way, these may be too late for it.
  if (unattended) {
    flush(draft, false, std::move(done));
  } else {
    done({});
  }
  return true;
}

void DraftTable::fsync(uint64_t ino, Callback<void> done) {
  const auto draft = find(ino);
  if (!draft) return done({});
  flush(draft, false, std::move(done));
}

void DraftTable::save(uint64_t ino, Callback<void> done) {
  const auto draft = find(ino);
  if (!draft || !draft->dirty() || draft->unlinked()) return done({});
  upload(draft, std::move(done));
}

void DraftTable::object_copied(uint64_t ino, const std::string& from_etag, const std::string& to_etag) {
  const auto draft = find(ino);
  if (!draft) return;  // also where the ETag stays: the key is another one
  const Draft::State state = draft->state();
  if (!state.begun || state.base_etag != from_etag) return;
  draft->rebase(to_etag, state.base_size, contents_.uncached(ino, to_etag, state.base_size));
}

void DraftTable::renamed(uint64_t ino, bool exclusive) {
  if (const auto draft = find(ino)) draft->exclusive = exclusive;
}

void DraftTable::unlinked(uint64_t ino) {
  const auto draft = find(ino);
  if (!draft || !draft->begun()) {
    keep_for_handles(ino);
    contents_.forget_unlinked(ino);
  }
  if (!draft) return;
  draft->mark_unlinked();
  discard(draft);
}

bool DraftTable::in_use(uint64_t ino) {
  {
    MutexLock lock(mu_);
    const auto it = drafts_.find(ino);
    if (it != drafts_.end() && it->second->writers > 0) return true;
  }
  return readers_.any(ino);
}

// Handles from the time of a draft that has ended have no Content yet, and it cannot be made once name and
// cache file are gone.
void DraftTable::keep_for_handles(uint64_t ino) {
  if (!in_use(ino)) return;
  auto content = contents_.acquire(ino);
  if (!content.ok()) return;
  {
    MutexLock lock(mu_);
    if (!orphans_.emplace(ino, *content).second) return;
    (*content)->add_handle();
    orphan_count_.store(orphans_.size());
  }
  handle_closed(ino);  // it may have been the last
}

void DraftTable::handle_closed(uint64_t ino) {
  if (orphan_count_.load() == 0 || in_use(ino)) return;
  std::shared_ptr<Content> content;
  {
    MutexLock lock(mu_);
    const auto it = orphans_.find(ino);
    if (it == orphans_.end()) return;
    content = std::move(it->second);
    orphans_.erase(it);
    orphan_count_.store(orphans_.size());
  }
  content->drop_handle();
  object_unneeded(ino);  // somebody else may keep the content itself a little longer
}

void DraftTable::reader_opened(uint64_t ino) { readers_.add(ino); }

void DraftTable::reader_closed(uint64_t ino) {
  readers_.drop(ino);
  if (const auto draft = find(ino); draft && draft->unlinked()) discard(draft);
  handle_closed(ino);
}

bool DraftTable::needs_object(uint64_t ino, std::function<void()> gone) {
  if (!contents_.open_unsealed(ino)) return false;
  {
    MutexLock lock(mu_);
    unneeded_[ino].push_back(std::move(gone));
  }
  if (!contents_.open_unsealed(ino)) object_unneeded(ino);  // closed between the two
  return true;
}

bool DraftTable::may_be_on_s3(uint64_t ino) {
  const auto draft = find(ino);
  return draft && !draft->state().sent_ctime.empty();
}

void DraftTable::object_unneeded(uint64_t ino) {
  std::vector<std::function<void()>> waiting;
  {
    MutexLock lock(mu_);
    const auto it = unneeded_.find(ino);
    if (it == unneeded_.end()) return;
    waiting.swap(it->second);
    unneeded_.erase(it);
  }
  for (const auto& gone : waiting) gone();
}

}  // namespace s3cache::core
