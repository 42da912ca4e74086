#include "core/removals.h"

#include <utility>

#include "base/bytes.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "core/attributes.h"
#include "core/namespace_names.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;
using meta::Intent;
using meta::Kind;
using meta::Table;
using s3::DeleteItem;

struct Removals::Removal {
  uint64_t seq = 0;
  uint64_t change = 0;  // in the ledger
  Intent intent;
  bool verify = false;
  bool may_be_there = false;  // an upload of it began, and its answer is not here
  int tries = 0;
  // The old forms of a directory go with it.
  std::vector<std::string> more_keys;
  InodeQueue::Turn turn;
};

namespace {
// Runs a job when both its places and its record are there.
struct Gathering {
  Mutex mu;
  bool durable GUARDED_BY(mu) = false, failed GUARDED_BY(mu) = false;
  InodeQueue::Turn turn GUARDED_BY(mu);
  std::function<void(InodeQueue::Turn)> go GUARDED_BY(mu);

  void is_durable(bool ok) EXCLUDES(mu) {
    std::function<void(InodeQueue::Turn)> run;
    InodeQueue::Turn place;
    {
      MutexLock lock(mu);
      durable = ok;
      failed = !ok;
      if (failed) go = nullptr;
      place = std::move(turn);
      if (durable && place) run = std::move(go);
    }
    if (run) run(std::move(place));
  }
  void has_turn(InodeQueue::Turn place) EXCLUDES(mu) {
    std::function<void(InodeQueue::Turn)> run;
    {
      MutexLock lock(mu);
      if (failed) return;
      if (!durable) {
        turn = std::move(place);
        return;
      }
      run = std::move(go);
    }
    if (run) run(std::move(place));
  }
};
}  // namespace

void Removals::unlink(uint64_t parent, std::string name, Callback<void> done) {
  c_.names.removing(parent, name);
  c_.locate(parent, name,
            [this, parent, name, done = std::move(done)](const Result<ChangeContext::Place>& place) {
              if (!place.ok()) return done(place.error());
              if (!place->found) return done(Error{Code::kNotFound, name});
              if (place->is_dir()) return done(Error{Code::kIsDirectory, name});
              hide(parent, name, *place, done);
            });
}

void Removals::rmdir(uint64_t parent, std::string name, Callback<void> done) {
  c_.locate(parent, name,
            [this, parent, name, done = std::move(done)](const Result<ChangeContext::Place>& place) {
              if (!place.ok()) return done(place.error());
              if (!place->found) return done(Error{Code::kNotFound, name});
              if (!place->is_dir()) return done(Error{Code::kNotDirectory, name});
              check_empty(place->ino, [this, parent, name, place = *place, done](const Status& empty) {
                if (!empty.ok()) return done(empty);
                hide(parent, name, place, done);
              });
            });
}

void Removals::hide(uint64_t parent, const std::string& name, const ChangeContext::Place& place,
                    Callback<void> done) {
  auto key = c_.ns.inodes.key_of(place.ino);
  if (!key.ok()) return done(Error{Code::kNotFound, key.error().message});
  auto removal = std::make_shared<Removal>();
  Intent& intent = removal->intent;
  intent.op = Intent::Op::kRemove;
  intent.promised = true;
  intent.is_dir = place.is_dir();
  intent.ino = place.ino;
  intent.parent = parent;
  intent.name = name;
  intent.key = *key;
  intent.etag = place.inode.etag;
  intent.last_modified_s = place.inode.last_modified_s;
  intent.made_at_ns = c_.ns.now();

  auto gathering = std::make_shared<Gathering>();
  {
    MutexLock lock(gathering->mu);
    gathering->go = [this, removal](InodeQueue::Turn turn) {
      removal->turn = std::move(turn);
      send(removal);
    };
  }
  removal->change = c_.ledger.begin();
  c_.deletes.announce();
  const auto durable = [this, removal, gathering, done](const Status& s) {
    c_.deletes.announced_came();
    if (!s.ok()) {
      c_.edits.lost(removal->seq, removal->intent);
      c_.ledger.end(removal->change);
      gathering->is_durable(false);
      return done(s);
    }
    if (!removal->intent.is_dir) {
      removal->may_be_there =
          c_.drafts.may_be_on_s3(removal->intent.ino);  // the draft may go with the next line
      c_.drafts.unlinked(removal->intent.ino);
    }
    crash_point("remove-promised");
    gathering->is_durable(true);  // first: what asks for all that was done now includes it
    done(Status());
  };
  const auto still = [this, &place] { return !place.is_dir() || !has_names(place.ino); };
  if (auto seq = c_.edits.hide(intent, still, &removal->seq, c_.outstanding.wrap(durable)); !seq.ok()) {
    c_.deletes.announced_came();
    c_.ledger.end(removal->change);
    return done(seq.error());
  }
  if (intent.is_dir) release_held(*key);
  c_.queue.run_all({place.ino, InodeQueue::key_place(*key)}, {parent},
                   [gathering](InodeQueue::Turn turn) { gathering->has_turn(std::move(turn)); });
}

void Removals::start(uint64_t seq, const Intent& intent, bool verify, uint64_t change) {
  auto removal = std::make_shared<Removal>();
  removal->seq = seq;
  removal->intent = intent;
  removal->verify = verify;
  removal->change = change != 0 ? change : c_.ledger.begin();
  std::vector<uint64_t> places{InodeQueue::key_place(intent.key)};
  if (intent.ino != 0) places.push_back(intent.ino);  // 0: the old place of a rename
  c_.queue.run_all(std::move(places), {}, [this, removal](InodeQueue::Turn turn) {
    removal->turn = std::move(turn);
    send(removal);
  });
}

void Removals::send(const RemovalPtr& removal) {
  const Intent& intent = removal->intent;
  if (intent.stage == 1) return finish(removal);
  if (removal->verify) return verify(removal);
  const auto inode = c_.ns.inodes.get(intent.ino);
  if (intent.is_dir) {
    const bool implicit = inode.ok() && inode->implicit_dir && inode->kind_known;
    // What stands for it in other forms: "dir" and "dir_$folder$".
    const std::string bare = intent.key.substr(0, intent.key.size() - 1);
    if (implicit && inode->source == meta::AttrSource::kHead) removal->more_keys.push_back(bare);
    if (implicit && c_.ns.options.compat_dir) removal->more_keys.push_back(bare + std::string(kFolderSuffix));
    if (implicit && removal->more_keys.empty()) return finish(removal);
    return add_to_batch(removal);
  }
  // Nothing of it ever reached S3.
  const bool never = inode.ok() && inode->etag.empty() && inode->last_modified_s == 0 &&
                     intent.etag.empty() && inode->source == meta::AttrSource::kLocal &&
                     !removal->may_be_there;
  if (never) return finish(removal);
  if (!hold(removal)) add_to_batch(removal);
}

// True: it is held, or somebody who hurries has taken it over.
bool Removals::hold(const RemovalPtr& removal) {
  const std::string& key = removal->intent.key;
  {
    MutexLock lock(mu_);
    held_[key] = removal;
  }
  const bool needed = c_.drafts.needs_object(removal->intent.ino, [this, key] { hurry(key); });
  uint64_t change = 0;
  {
    MutexLock lock(mu_);
    const auto it = held_.find(key);
    if (it == held_.end() || it->second != removal) return true;
    if (!needed) {
      held_.erase(it);
      return false;
    }
    change = std::exchange(removal->change, 0);
  }
  c_.ledger.end(change);  // it is in the journal: nobody waits for a reader
  if (c_.queue.busy_behind(InodeQueue::key_place(key))) hurry(key);
  return true;
}

void Removals::hurry(const std::string& key_prefix) {
  release_held(key_prefix);
  c_.deletes.flush();
}

void Removals::release_held(const std::string& key_prefix) {
  std::vector<RemovalPtr> freed;
  {
    MutexLock lock(mu_);
    if (key_prefix.ends_with('/')) {  // a file of the directory's name
      const auto file = held_.find(key_prefix.substr(0, key_prefix.size() - 1));
      if (file != held_.end()) {
        freed.push_back(std::move(file->second));
        held_.erase(file);
      }
    }
    for (auto it = held_.lower_bound(key_prefix); it != held_.end() && it->first.starts_with(key_prefix);) {
      if (it->first != key_prefix && !key_prefix.empty() && key_prefix.back() != '/') break;
      freed.push_back(std::move(it->second));
      it = held_.erase(it);
    }
  }
  for (const RemovalPtr& removal : freed) {
    if (removal->change == 0) removal->change = c_.ledger.begin();
    add_to_batch(removal);
  }
}

void Removals::verify(const RemovalPtr& removal) {
  const Intent& intent = removal->intent;
  c_.ns.s3.head(intent.key, s3::Priority::kBackground, [this, removal](const Result<s3::ObjectInfo>& info) {
    const Intent& want = removal->intent;
    if (info.is(Code::kNotFound)) return finish(removal);
    if (!info.ok()) return ended(removal, info.error());
    // Removed then, and made anew by somebody since.
    const bool same = want.etag.empty() || info->etag.empty() || info->etag == want.etag;
    // A directory's time tells nothing where it moves with what is removed below it (versitygw).
    const bool older =
        want.is_dir || info->last_modified == 0 ||
        (want.last_modified_s != 0 ? info->last_modified <= want.last_modified_s
                                   : info->last_modified <= want.made_at_ns / 1'000'000'000 + 1);
    // An upload that was on its way when the name went is a later version, but no later than the removal.
    const std::string* ctime = info->header(kCtimeHeader);
    const auto written_at = ctime != nullptr ? parse_time_ns(*ctime) : std::nullopt;
    const bool before = written_at && *written_at <= want.made_at_ns;
    if (before) removal->intent.etag = info->etag;
    if (!before && (!same || !older)) {
      log::warn("{} was removed here, but the server has a later version: it stays", want.key);
      c_.edits.reveal(removal->seq, want);
      c_.ledger.end(removal->change);
      removal->turn.reset();
      return;
    }
    add_to_batch(removal);
  });
}

void Removals::add_to_batch(const RemovalPtr& removal) {
  const Intent& intent = removal->intent;
  for (const std::string& key : removal->more_keys) {
    drop_key(key, intent.parent);
  }
  DeleteItem item{intent.key, {}};
  if (removal->verify) item.if_match = intent.etag;
  crash_point("remove-before-delete");
  c_.deletes.add(std::move(item), intent.parent, [this, removal](const Status& s) { ended(removal, s); });
  // Somebody waits to make this key anew.
  if (c_.queue.busy_behind(InodeQueue::key_place(intent.key))) c_.deletes.flush();
}

void Removals::drop_key(const std::string& key, uint64_t dir) {
  const uint64_t change = c_.ledger.begin();
  c_.deletes.add(DeleteItem{key, {}}, dir, [this, change](const Status&) { c_.ledger.end(change); });
}

void Removals::ended(const RemovalPtr& removal, const Status& status) {
  const Intent& intent = removal->intent;
  crash_point("remove-answered");
  if (status.ok() || status.is(Code::kNotFound)) return finish(removal);
  if (status.is(Code::kCancelled)) {  // at the next mount
    removal->turn.reset();
    return;
  }
  if (worth_repeating(status.code())) {
    if (removal->tries == 0)
      log::warn("{} cannot be deleted now, trying on: {}", intent.key, status.error().message);
    c_.try_later(removal->change, intent.key, status.error(), ++removal->tries,
                 [this, removal] { send(removal); });
    return;
  }
  log::error("the server refuses to delete {}, it is back: {}", intent.key, status.error().message);
  if (c_.edits.reveal(removal->seq, intent) && c_.ns.listener != nullptr) {
    c_.ns.listener->entry_removed(intent.parent, intent.name);  // the kernel's "there is none"
  }
  removal->turn.reset();
  c_.ledger.end(removal->change);
}

void Removals::finish(const RemovalPtr& removal) {
  const Intent& intent = removal->intent;
  const bool in_use = !intent.is_dir && intent.stage == 0 && c_.drafts.in_use(intent.ino);
  if (in_use) {
    MutexLock lock(mu_);
    kept_[intent.ino] = removal->seq;
  }
  if (intent.stage == 1) {
    c_.edits.forget(removal->seq, intent.ino);
  } else {
    c_.edits.gone(removal->seq, intent, in_use);
  }
  crash_point("remove-recorded");
  removal->turn.reset();
  forget_closed();
  c_.ledger.end(removal->change);
}

void Removals::forget_closed() {
  std::vector<std::pair<uint64_t, uint64_t>> closed;
  {
    MutexLock lock(mu_);
    for (auto it = kept_.begin(); it != kept_.end();) {
      if (c_.drafts.in_use(it->first)) {
        ++it;
        continue;
      }
      closed.emplace_back(*it);
      it = kept_.erase(it);
    }
  }
  for (const auto& [ino, seq] : closed) c_.edits.forget(seq, ino);
}

}  // namespace s3cache::core
