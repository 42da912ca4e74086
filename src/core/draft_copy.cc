// copy_file_range: a whole file into a new or emptied one, as a copy on the server.
#include <utility>

#include "core/draft_journal.h"
#include "core/draft_table.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;

struct DraftTable::ServerCopy {
  std::shared_ptr<Draft> draft;
  ObjectSource source;
  int64_t size = 0;
  Callback<void> done;
  InodeQueue::Turn turn;
  Draft::Snapshot snapshot = {};
  bool adopted = false;  // the file has the copy's bytes
};

namespace {

Error read_and_write(const std::string& why) { return {Code::kUnsupported, why}; }

// What a copy may fail with that reading and writing would not, or would report better.
bool only_the_copy_failed(const Error& error) {
  return error.code == Code::kStale || error.code == Code::kNotFound || error.code == Code::kExists ||
         error.code == Code::kInvalid;
}

}  // namespace

void DraftTable::copy_from(const std::shared_ptr<Draft>& draft, ObjectSource source, int64_t size,
                           Callback<void> done) {
  queue_.run(draft->ino(), [this, draft, source = std::move(source), size,
                            done = std::move(done)](InodeQueue::Turn turn) {
    auto copy = std::make_shared<ServerCopy>(ServerCopy{draft, source, size, done, std::move(turn)});
    draft->session().when_idle([this, copy] { begin_copy(copy); });
  });
}

void DraftTable::begin_copy(const std::shared_ptr<ServerCopy>& copy) {
  Draft& draft = *copy->draft;
  const Draft::State state = draft.state();
  const bool is_new = draft.fresh && !state.begun;
  // Kernel readers of what it was would see the bytes that are not here as zeros, and what was promised of an
  // empty file is the next mount's to finish.
  const bool emptied = state.begun && state.size == 0 && !draft.durable && !draft.read_in_place();
  if (state.unlinked || draft.session().open() || (!is_new && !emptied))
    return copy->done(read_and_write("the target has bytes, or readers"));
  auto target = target_of(draft);
  if (!target.ok()) return copy->done(target.error());
  ObjectCopier::Copy request;
  request.source_key = copy->source.key;
  request.key = target->key;
  request.etag = copy->source.etag;
  request.size = copy->size;
  request.replace = true;
  request.headers = target->headers;
  request.if_none_match = request.strict = target->exclusive && s3_.conditions_supported();
  copy->snapshot = draft.take_snapshot();
  draft.set_sent(target->ctime(), copy->size);
  copier_.copy(std::move(request), [this, copy](Result<s3::Written> written) {
    workers_.post([this, copy, written = std::move(written)] { copied(copy, written); });
  });
}

void DraftTable::copied(const std::shared_ptr<ServerCopy>& copy, const Result<s3::Written>& written) {
  const std::shared_ptr<Draft> draft = copy->draft;
  Status outcome;
  if (written.ok()) {
    record_copied(*copy, *written);
    if (!copy->adopted) outcome = read_and_write("the target was written meanwhile");
  } else {
    draft->not_saved();
    outcome =
        only_the_copy_failed(written.error()) ? read_and_write(written.error().message) : written.error();
  }
  if (copy->adopted && draft->begun()) finish(draft, copy->snapshot);
  copy->done(outcome);
  copy->turn.reset();
  drop_if_idle(draft);
}

void DraftTable::record_copied(ServerCopy& copy, const s3::Written& written) {
  Draft& draft = *copy.draft;
  bool begun = false;
  {
    // A first write begins before all of this, or after it: from the record as it is then.
    MutexLock beginning(draft.begin_mu);
    begun = draft.begun();
    draft.fresh = false;
    copy.adopted = draft.copied(copy.snapshot, written.etag, copy.size,
                                begun ? contents_.uncached(draft.ino(), written.etag, copy.size) : nullptr);
    (void)inodes_.update(draft.ino(), [&](Inode& inode, Batch& batch) {
      if (version_of(inode) != draft.version()) return false;
      inode.etag = written.etag;
      inode.last_modified_s = written.last_modified;
      inode.has_owner = true;
      if (!copy.adopted) return true;
      inode.size = inode.base_len = begun ? draft.size() : copy.size;
      if (begun) return true;
      inode.source = meta::AttrSource::kHead;
      put_draft_end(store_, batch, draft.ino());
      return true;
    });
  }
  if (copy.adopted && !begun && mutations_) mutations_->uploaded(draft.ino());
}

}  // namespace s3cache::core
