// The way of drafts to S3: flush, upload, what an upload leaves behind, retries.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/attributes.h"
#include "core/draft_journal.h"
#include "core/draft_table.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;
using meta::Table;

namespace {
constexpr int64_t kFirstRetryMs = 1'000, kMaxRetryMs = 60'000;
// A file that is cut during each upload, a hundred times in a row, is no accident of timing.
constexpr int kMaxOvertaken = 100;

// An upload in parts has the times of its beginning. A file's record takes an mtime over that is at most this
// much older than its last write; a later one is set by a copy, behind the writer's back.
constexpr int64_t kMaxDriftNs = 5'000'000'000;

// What the object will say of its times, into the record too. REQUIRES: no part is on its way.
void agree_on_times(const UploadSession& session, Uploader::Target& target, Draft::Snapshot& snapshot) {
  const bool early = session.open() && session.key() == target.key;
  for (auto& [name, value] : target.headers) {
    if (name != kCtimeHeader && name != kMtimeHeader) continue;
    const std::string early_text = early ? session.header(name) : std::string();
    const auto begun_at = parse_time_ns(early_text);
    const auto now = parse_time_ns(value);
    if (!now) continue;
    if (name == kCtimeHeader) {
      snapshot.ctime_ns = begun_at.value_or(*now);
      if (begun_at) value = early_text;
      continue;
    }
    snapshot.mtime_ns = *now;
    if (!begun_at || session.headers_outdated()) continue;
    snapshot.mtime_late = *now - *begun_at > kMaxDriftNs || *now < *begun_at;
    if (snapshot.mtime_late) continue;
    snapshot.mtime_ns = *begun_at;
    value = early_text;
  }
}

// The object will not take these bytes in any later try either.
bool is_conflict(const Error& error) { return error.code == Code::kStale; }
}  // namespace

void DraftTable::flush(const std::shared_ptr<Draft>& draft, bool closing, Callback<void> done) {
  if (draft->unlinked() || !draft->dirty()) return done({});
  // "echo > f" closes the empty file before it writes: its PUT can wait for the last close, its record
  // cannot. O_EXCL wants to know whether it lost.
  if (closing && draft->fresh && !draft->begun() && !draft->exclusive) {
    Batch batch;
    put_draft_mark(batch, draft->ino(), {}, true);
    return store_.apply(std::move(batch), [done = std::move(done)](const Status& s) {
      crash_point("promise-empty-committed");
      done(s);
    });
  }
  if (!options_.writeback || !draft->begun()) {
    return upload(draft, [this, draft, done = std::move(done)](const Status& saved) {
      done(saved);
      if (saved.ok() || draft->unlinked()) return;
      // The caller knows it failed; the bytes stay, also over a restart, and are tried again.
      workers_.post([this, draft] {
        if (draft->begun() && draft->dirty()) (void)persist(*draft);
      });
    });
  }
  workers_.post([this, draft, done = std::move(done)] {
    const Status durable = persist(*draft);
    done(durable);
    if (durable.ok()) upload(draft, [](const Status&) {});
  });
}

Status DraftTable::persist(Draft& draft) {
  const auto file = draft.file();
  if (!file) return {};
  if (::fdatasync(file->get()) != 0) return errno_error(errno, "sync the work file");
  crash_point("promise-synced");
  // Not beside finish(): a record of this draft must not come after its end.
  MutexLock lock(draft.begin_mu);
  const Draft::State before = draft.state();
  if (!before.begun || !before.dirty) return store_.flush();  // S3 has it by now
  if (!draft.durable) {
    if (Status s = dir_.sync_folder(before.fid); !s.ok()) return s;
  }
  crash_point("promise-before-commit");
  Batch batch = durable_draft(store_, draft, clock_.wall_s());
  Status s = store_.apply_durable(std::move(batch));
  crash_point("promise-committed");
  if (s.ok()) draft.durable = true;
  return s;
}

Result<Uploader::Target> DraftTable::target_of(const Draft& draft) {
  auto inode = inodes_.get(draft.ino());
  if (!inode.ok()) return inode.error();
  auto key = inodes_.key_of(draft.ino(), *inode);
  if (!key.ok()) return key.error();
  auto value = store_.get(Table::kExt, meta::id_key(draft.ino()));
  meta::Ext ext;
  if (value.ok() && value->has_value()) ext = meta::Ext::decode(**value).value_or(meta::Ext());
  Uploader::Target target;
  target.headers = object_headers(*inode, ext, *key, options_);
  target.key = std::move(*key);
  target.exclusive = draft.fresh && draft.exclusive;
  return target;
}

void DraftTable::stream(const std::shared_ptr<Draft>& draft, int64_t written_to) {
  // While a snapshot is on its way its parts are all that goes up.
  if (draft->unlinked() || draft->sending()) return;
  uploader_.stream(draft, written_to, [this, draft] { return target_of(*draft); });
}

// --- uploads

void DraftTable::upload(const std::shared_ptr<Draft>& draft, Callback<void> done) {
  {
    MutexLock lock(mu_);
    draft->waiters.push_back({draft->state().generation, std::move(done)});
    if (draft->saving.exchange(true)) return;
  }
  queue_.run(draft->ino(), [this, draft](InodeQueue::Turn turn) { upload_turn(draft, turn); });
}

void DraftTable::upload_turn(const std::shared_ptr<Draft>& draft, const InodeQueue::Turn& turn) {
  // Saved and ended while this turn was waited for: an idle draft has no bytes, and must not be sent as if it
  // had none.
  if (!draft->fresh && !(draft->begun() && draft->dirty())) {
    if (draft->take_idle_attributes()) return copy_attributes(draft);
    answer_waiters(draft, UINT64_MAX, {});
    return drop_if_idle(draft);
  }
  // Which of its parts went up early has to be known, and with what headers.
  draft->session().when_idle([this, draft, turn] { begin_upload(draft, turn); });
}

// Set while the upload of a new file without bytes was on its way.
void DraftTable::copy_attributes(const std::shared_ptr<Draft>& draft) {
  mutations_->setattr(draft->ino(), {}, [this, draft](const Result<Entry>& copied) {
    answer_waiters(draft, UINT64_MAX, copied.ok() ? Status() : Status(copied.error()));
    drop_if_idle(draft);
  });
}

void DraftTable::begin_upload(const std::shared_ptr<Draft>& draft, const InodeQueue::Turn& turn) {
  Draft::Snapshot snapshot = draft->take_snapshot();
  if (draft->unlinked())
    return uploaded(draft, snapshot, Error{Code::kCancelled, "the file was removed"}, turn);
  auto target = target_of(*draft);
  if (!target.ok()) return uploaded(draft, snapshot, target.error(), turn);
  agree_on_times(draft->session(), *target, snapshot);
  const Draft::State before = draft->state();
  draft->set_sent(target->ctime(), snapshot.size);
  if (!draft->durable) return send(draft, snapshot, *target, turn);
  // Promised: after a crash the next mount has to know an object of ours when it meets one.
  store_.apply(
      sent_mark(*draft), [this, draft, snapshot, target = *target, turn, before](const Status& recorded) {
        crash_point("upload-announced");
        if (recorded.ok()) return send(draft, snapshot, target, turn);
        draft->set_sent(before.sent_ctime, before.sent_size);
        workers_.post(
            [this, draft, snapshot, turn, recorded] { uploaded(draft, snapshot, recorded.error(), turn); });
      });
}

void DraftTable::send(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot,
                      const Uploader::Target& target, const InodeQueue::Turn& turn) {
  // Taken out when it is called: the client may destroy this callback under its lock, and the end of a turn
  // begins the next job.
  auto held = std::make_shared<InodeQueue::Turn>(turn);
  const auto sent = [this, draft, snapshot, target, held](Result<s3::Written> written) {
    InodeQueue::Turn mine = std::move(*held);
    if (written.is(Code::kStale) || written.is(Code::kExists))
      return look_again(draft, snapshot, target, written.error(), mine);
    // Records, and the seal of a large file, are no work for a network thread.
    workers_.post([this, draft, snapshot, mine = std::move(mine), written = std::move(written)] {
      uploaded(draft, snapshot, written, mine);
    });
  };
  uploader_.send(draft, snapshot, target, sent);
}

void DraftTable::look_again(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot,
                            const Uploader::Target& target, const Error& why, const InodeQueue::Turn& turn) {
  auto held = std::make_shared<InodeQueue::Turn>(turn);  // as in send()
  const auto looked = [this, draft, snapshot, target, why, held](Result<s3::ObjectInfo> info) {
    workers_.post([this, draft, snapshot, target, why, mine = std::move(*held), info = std::move(info)] {
      const std::string* ctime = info.ok() ? info->header(kCtimeHeader) : nullptr;
      const Draft::State state = draft->state();
      s3::Written ours;
      if (info.ok()) ours = {info->etag, info->last_modified, info->server_date, {}};
      if (ctime && *ctime == target.ctime() && info->size == snapshot.size)
        return uploaded(draft, snapshot, ours, mine);
      const bool earlier = ctime && *ctime == state.sent_ctime && info->size == state.sent_size;
      if (!earlier || info->etag == state.base_etag) return uploaded(draft, snapshot, why, mine);
      draft->rebase(info->etag, info->size, contents_.uncached(draft->ino(), info->etag, info->size));
      // On record before anything else is sent, or the next crash would not know this one.
      (void)inodes_.update(draft->ino(), [&](Inode& inode, Batch&) {
        inode.etag = info->etag;
        return true;
      });
      draft->not_saved();
      upload_turn(draft, mine);
    });
  };
  s3_.head(target.key, s3::Priority::kForeground, looked);
}

void DraftTable::uploaded(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot,
                          const Result<s3::Written>& written, const InodeQueue::Turn& turn) {
  Status outcome = written.ok() ? Status() : Status(written.error());
  if (written.is(Code::kBusy) && draft->generation() != snapshot.generation && !draft->unlinked() &&
      ++draft->overtaken < kMaxOvertaken) {
    draft->not_saved();
    return upload_turn(draft, turn);
  }
  draft->overtaken = 0;
  ++settling_;
  note_outcome(draft, outcome);
  if (written.ok()) {
    draft->fresh = false;
    draft->failures = 0;
    std::shared_ptr<Content> base;
    if (!draft->state().whole && draft->begun())
      base = contents_.uncached(draft->ino(), written->etag, snapshot.size);
    crash_point("upload-before-record");
    draft->saved(snapshot, written->etag, std::move(base));
    record_saved(*draft, snapshot, *written);
    crash_point("upload-recorded");
    // The same bytes within the same second: after a crash nothing on the server would tell that the record
    // is older.
    if (written->etag == snapshot.base_etag) (void)store_.flush();
  } else {
    draft->not_saved();
    if (is_conflict(written.error()) && !draft->unlinked()) conflict(draft, written.error());
    const int64_t wait = std::min(kMaxRetryMs, kFirstRetryMs << std::min(draft->failures.load(), 6));
    ++draft->failures;
    draft->retry_at_ms = clock_.mono_ms() + wait;
  }
  const bool more = answer_waiters(draft, written.ok() ? snapshot.generation : UINT64_MAX, outcome);
  if (more) {
    --settling_;
    return queue_.run(draft->ino(), [this, draft](InodeQueue::Turn next) { upload_turn(draft, next); });
  }
  if (written.ok() && draft->begun()) finish(draft, snapshot);
  --settling_;
  bool idle = false;
  {
    MutexLock lock(mu_);
    idle = draft->writers == 0;
  }
  relieve();
  if (idle && draft->unlinked()) return discard(draft);
  drop_if_idle(draft);
  (void)turn;  // until here nothing else happens to this inode
}

void DraftTable::note_outcome(const std::shared_ptr<Draft>& draft, const Status& outcome) {
  std::optional<Trouble> trouble;
  if (!outcome.ok()) {
    auto key = inodes_.key_of(draft->ino());
    trouble = Trouble{key.ok() ? std::move(*key) : "inode " + std::to_string(draft->ino()), outcome.error(),
                      clock_.wall_ns()};
  }
  MutexLock lock(mu_);
  draft->trouble = std::move(trouble);
}

// Those who waited for `generation` or an earlier one. True: others wait still.
bool DraftTable::answer_waiters(const std::shared_ptr<Draft>& draft, uint64_t generation,
                                const Status& outcome) {
  std::vector<Draft::Waiter> answered;
  bool more = false;
  {
    MutexLock lock(mu_);
    const auto later =
        std::stable_partition(draft->waiters.begin(), draft->waiters.end(),
                              [&](const Draft::Waiter& w) { return w.generation <= generation; });
    answered.assign(std::make_move_iterator(draft->waiters.begin()), std::make_move_iterator(later));
    draft->waiters.erase(draft->waiters.begin(), later);
    more = !draft->waiters.empty();
    if (!more) draft->saving = false;
  }
  for (auto& waiter : answered) waiter.done(outcome);
  return more;
}

void DraftTable::record_saved(Draft& draft, const Draft::Snapshot& snapshot, const s3::Written& written) {
  bool clean = false;
  // A first write that begins now has marked the inode or will; not the one before and the other after this.
  MutexLock beginning(draft.begin_mu);
  (void)inodes_.update(draft.ino(), [&](Inode& inode, Batch& batch) {
    if (version_of(inode) != draft.version()) return false;
    // Under the inode's lock, which changed() takes too: a write that comes now marks the inode again.
    clean = !draft.dirty() || !draft.begun();
    inode.etag = written.etag;
    inode.last_modified_s = written.last_modified;
    inode.has_owner = true;
    if (clean) {
      inode.size = inode.base_len = snapshot.size;
      if (snapshot.mtime_ns != 0 && !draft.dirty()) inode.mtime_ns = snapshot.mtime_ns;
      if (snapshot.ctime_ns != 0 && !draft.dirty()) inode.ctime_ns = snapshot.ctime_ns;
      inode.source = draft.begun() ? inode.source : meta::AttrSource::kHead;
      if (!draft.begun()) put_draft_end(store_, batch, draft.ino());
    }
    return true;
  });
  if (clean && !draft.begun() && mutations_) mutations_->uploaded(draft.ino());
}

// Everything is on S3: the work file becomes the cache of the new version.
void DraftTable::finish(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot) {
  const Draft::State state = draft->state();
  if (state.dirty || state.generation != snapshot.generation || draft->unlinked()) return;
  // An empty file has no cache file. Kernel readers of the one it was cut from are to see the next write, so
  // the draft goes on until they are gone (readers_gone()).
  const auto readers = draft->readers();
  if (state.size == 0 && readers) return;
  auto inode = inodes_.get(draft->ino());
  if (!inode.ok()) return;
  auto content = contents_.prepare_local(draft->ino(), *inode, state.fid, draft->local());
  const bool cached = content && content->fid() != 0;
  MutexLock lock(draft->begin_mu);
  const bool ended = draft->end(snapshot.generation, [&] {
    (void)inodes_.update(draft->ino(), [&](Inode& now, Batch& batch) {
      now.source = meta::AttrSource::kHead;
      now.fid = cached ? state.fid : 0;
      put_draft_end(store_, batch, draft->ino());
      return true;
    });
    crash_point("draft-end-recorded");
    if (content) contents_.publish_local(content);
    crash_point("draft-published");
    if (readers && cached) readers->set_successor(content);
  });
  if (!ended) {
    // Written meanwhile: the file is the draft's still, and must not become evictable when this content ends.
    if (content) content->supersede(true);
    return;
  }
  space_.draft_ended(state.fid);
  if (!cached) drop_file(state.fid);  // empty, or it cannot be read back
  draft->durable = false;
  // Still under begin_mu: the pin that comes off is not that of a writer who begins anew.
  if (mutations_) mutations_->uploaded(draft->ino());
  lock.unlock();
  if (!mutations_ || !snapshot.mtime_late) return;
  SetAttr late;
  late.mtime_ns = snapshot.mtime_ns;
  mutations_->setattr(draft->ino(), late, [](const Result<Entry>&) {});
}

void DraftTable::readers_gone(uint64_t ino) {
  const auto draft = find(ino);
  if (!draft || !draft->begun() || draft->dirty()) return;
  queue_.run(ino, [this, draft](InodeQueue::Turn turn) {
    workers_.post([this, draft, turn] {
      Draft::Snapshot saved;
      saved.generation = draft->generation();
      if (draft->begun() && !draft->dirty()) finish(draft, saved);
      drop_if_idle(draft);
      (void)turn;
    });
  });
}

}  // namespace s3cache::core
