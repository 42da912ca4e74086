#include "core/attr_changes.h"

#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/namespace_names.h"

namespace s3cache::core {

using meta::AttrSource;
using meta::Ext;
using meta::Inode;
using meta::Intent;
using meta::Kind;

namespace {
constexpr int kMaxTries = 4;
}  // namespace

// One copy, and all who wait for it.
struct AttrChanges::Round {
  uint64_t ino = 0;
  std::vector<Wish> wishes;
  std::vector<uint64_t> promised;  // journal; the record has it all
  int tries = 0;
  std::string key;
  Inode before, after;
  Ext ext;
  InodeQueue::Turn turn;
};

void AttrChanges::change(uint64_t ino, Edit edit, Callback<Entry> done) {
  const auto inode = c_.ns.inodes.get(ino);
  if (!inode.ok()) return done(Error{Code::kStale, inode.error().message});
  Wish wish{std::move(edit), std::move(done), 0};
  if ((inode->flags & meta::kUnlinked) != 0) return without_name(ino, *inode, wish);
  if (inode->kind == Kind::kFile && c_.drafts.has_draft(ino) && to_draft(ino, wish)) return;
  wish.change = c_.ledger.begin();
  if (c_.options.writeback) return ahead(ino, std::move(wish));
  enqueue(ino, std::move(wish));
}

// Open, and its name is gone: the record is all there is of it. Its key may be another file's by now.
void AttrChanges::without_name(uint64_t ino, Inode inode, const Wish& wish) {
  Ext ext = c_.ext_of_ino(ino);
  Status s = wish.edit(inode, ext);
  const auto edit = [&inode](Inode& now) { take_attributes(now, inode); };
  if (s.ok()) s = c_.edits.write(ino, edit, &ext);
  wish.done(s.ok() ? Result<Entry>(c_.entry(ino, inode)) : Result<Entry>(s.error()));
}

// False: the draft ended meanwhile; the record then has the change, and the object is to follow.
bool AttrChanges::to_draft(uint64_t ino, Wish& wish) {
  auto inode = c_.ns.inodes.get(ino);
  auto key = c_.ns.inodes.key_of(ino);
  if (!inode.ok() || !key.ok()) {
    wish.done(Error{Code::kStale, "inode " + std::to_string(ino) + " is gone"});
    return true;
  }
  Ext ext = c_.ext_of_ino(ino);
  Status s = wish.edit(*inode, ext);
  if (s.ok()) s = check_user_metadata(c_.headers(*inode, ext, *key));
  const auto edit = [&inode](Inode& now) {
    take_attributes(now, *inode);
    now.source = AttrSource::kLocal;
  };
  if (s.ok()) s = c_.edits.write(ino, edit, &ext);
  if (!s.ok()) {
    wish.done(s.error());
    return true;
  }
  const auto taken = [this, ino, done = wish.done](const Status& saved) {
    done(saved.ok() ? c_.entry(ino) : Result<Entry>(saved.error()));
  };
  if (c_.drafts.attributes_changed(ino, taken)) return true;
  wish.edit = [](Inode&, Ext&) { return Status(); };
  return false;
}

void AttrChanges::enqueue(uint64_t ino, Wish wish) {
  bool first = false;
  {
    MutexLock lock(mu_);
    auto& list = waiting_[ino];
    first = list.empty();
    list.push_back(std::move(wish));
  }
  if (!first) return;
  auto round = std::make_shared<Round>();
  round->ino = ino;
  c_.queue.run(ino, [this, round](InodeQueue::Turn turn) {
    round->turn = std::move(turn);
    begin(round);
  });
}

void AttrChanges::begin(const RoundPtr& round) {
  {
    MutexLock lock(mu_);
    if (const auto it = waiting_.find(round->ino); it != waiting_.end()) {
      round->wishes = std::move(it->second);
      waiting_.erase(it);
    }
    if (const auto it = behind_.find(round->ino); it != behind_.end()) {
      round->promised = std::move(it->second);
      behind_.erase(it);
    }
  }
  if (round->wishes.empty()) return apply(round);
  learn(round->ino, [this, round](const Status& known) {
    if (!known.ok()) return end(round, known.error());
    apply(round);
  });
}

void AttrChanges::learn(uint64_t ino, Callback<void> done) {
  c_.names.ext(ino, [this, ino, done = std::move(done)](const Result<Ext>& ext) {
    if (!ext.ok()) return done(ext.error());
    const auto inode = c_.ns.inodes.get(ino);
    if (!inode.ok()) return done(Error{Code::kStale, inode.error().message});
    const bool unknown = inode->source == AttrSource::kListing &&
                         !(inode->kind == Kind::kDirectory && inode->kind_known && inode->implicit_dir);
    if (!unknown) return done(Status());
    ask_headers(ino, done);  // attr=list never asks by itself
  });
}

void AttrChanges::ask_headers(uint64_t ino, Callback<void> done) {
  auto key = c_.ns.inodes.key_of(ino);
  if (!key.ok()) return done(key.error());
  if (key->empty()) key->assign(1, '/');
  const int64_t asked_at = c_.ns.now();
  c_.ns.s3.head(
      *key, s3::Priority::kForeground,
      [this, ino, key = *key, asked_at, done = std::move(done)](const Result<s3::ObjectInfo>& info) {
        if (info.is(Code::kNotFound) && key.back() == '/') return done(Status());
        if (!info.ok()) return done(info.error());
        const Ext ext = ext_of(*info);
        const auto updated = c_.records.update(ino, asked_at, &ext, [&](Inode& inode, bool) {
          return apply_head(inode, *info, key, c_.ns.options);
        });
        done(updated.ok() ? Status() : Status(updated.error()));
      });
}

void AttrChanges::apply(const RoundPtr& round) {
  auto inode = c_.ns.inodes.get(round->ino);
  auto key = c_.ns.inodes.key_of(round->ino);
  if (!inode.ok() || !key.ok()) return end(round, Error{Code::kStale, "it was removed meanwhile"});
  if (key->empty()) key->assign(1, '/');
  round->key = std::move(*key);
  round->before = round->after = std::move(*inode);
  round->ext = c_.ext_of_ino(round->ino);
  std::vector<Wish> refused;
  std::erase_if(round->wishes, [&](Wish& wish) {
    Inode edited = round->after;
    Ext ext = round->ext;
    Status s = wish.edit(edited, ext);
    if (s.ok()) s = check_user_metadata(c_.headers(edited, ext, round->key));
    if (s.ok()) {
      round->after = std::move(edited);
      round->ext = std::move(ext);
      return false;
    }
    const uint64_t change = wish.change;
    wish.done(s.error());
    c_.ledger.end(change);
    return true;
  });
  if (round->wishes.empty() && round->promised.empty()) return;  // the turn ends with the round
  if (hand_to_draft(round)) return;
  send(round);
}

// It was opened for writing meanwhile.
bool AttrChanges::hand_to_draft(const RoundPtr& round) {
  if (round->after.kind != Kind::kFile || !c_.drafts.has_draft(round->ino)) return false;
  const auto edit = [&round](Inode& now) {
    take_attributes(now, round->after);
    now.source = AttrSource::kLocal;
  };
  if (!c_.edits.write(round->ino, edit, &round->ext).ok()) return false;
  if (!c_.drafts.attributes_changed(round->ino, [](const Status&) {})) return false;
  for (const uint64_t seq : std::exchange(round->promised, {})) {
    c_.edits.handed_over(seq, round->ino);
  }
  end(round, c_.entry(round->ino, round->after));
  return true;
}

void AttrChanges::send(const RoundPtr& round) {
  const Inode& inode = round->after;
  auto headers = c_.headers(inode, round->ext, round->key);
  crash_point("attributes-before-copy");
  auto done = [this, round](const Result<s3::Written>& written) { sent(round, written); };
  if (inode.kind == Kind::kDirectory && (inode.implicit_dir || inode.size == 0)) {
    s3::PutRequest request;
    request.key = round->key;
    request.headers = std::move(headers);
    c_.ns.s3.put(std::move(request), std::move(done));
    return;
  }
  ObjectCopier::Copy copy;
  copy.source_key = copy.key = round->key;
  copy.etag = inode.etag;
  copy.size = inode.size;
  copy.replace = true;
  copy.headers = std::move(headers);
  copier_.copy(std::move(copy), std::move(done));
}

void AttrChanges::sent(const RoundPtr& round, const Result<s3::Written>& written) {
  crash_point("attributes-answered");
  if (written.ok()) return confirm(round, *written);
  if (written.is(Code::kStale) && ++round->tries < kMaxTries) {
    // Somebody replaced it: his version gets the attributes, on top of its own headers.
    if (!round->promised.empty()) return meet_version(round);
    return c_.names.revalidate(round->ino, [this, round](const Result<Entry>& now) {
      if (!now.ok()) return end(round, now.error());
      again(round);
    });
  }
  if (!round->promised.empty() && !written.is(Code::kCancelled) && worth_repeating(written.code())) {
    if (round->tries == 0)
      log::warn("attributes of {} cannot be written now, trying on: {}", round->key, written.error().message);
    const uint64_t change = round->wishes.empty() ? 0 : round->wishes.front().change;
    c_.try_later(change, round->key, written.error(), ++round->tries, [this, round] { again(round); });
    return;
  }
  if (written.is(Code::kNotFound) || worth_repeating(written.code())) c_.names.expire(round->ino);
  end(round, written.error());
}

// What was promised goes onto the version that lies there now, be it somebody else's or our own copy whose
// answer was lost. The record's attributes stay, as they are younger.
void AttrChanges::meet_version(const RoundPtr& round) {
  c_.ns.s3.head(round->key, s3::Priority::kBackground, [this, round](const Result<s3::ObjectInfo>& info) {
    if (!info.ok()) return sent(round, info.error());
    Ext ext = ext_of(*info);
    const Ext ours = c_.ext_of_ino(round->ino);
    ext.xattrs = ours.xattrs;
    ext.symlink = ours.symlink;
    const auto edit = [&info](Inode& now) {
      Inode there = now;
      there.source = AttrSource::kListing;
      (void)apply_listed(there, {"", info->size, info->etag, info->last_modified});
      now.etag = there.etag;
      now.size = there.size;
      now.base_len = there.base_len;
      now.fid = there.fid;
      now.lineage = there.lineage;
      now.last_modified_s = there.last_modified_s;
    };
    if (Status s = c_.edits.write(round->ino, edit, &ext); !s.ok()) return end(round, s.error());
    again(round);
  });
}

void AttrChanges::again(const RoundPtr& round) {
  // A promise is in the record, which the server's answers leave alone; a wish is applied to what they said.
  apply(round);
}

void AttrChanges::confirm(const RoundPtr& round, const s3::Written& written) {
  const Inode before = round->before;
  const bool promised = !round->promised.empty();
  const auto edit = [&](Inode& now) {
    // Replaced since by somebody else: his attributes.
    if (!now.etag.empty() && now.etag != before.etag && now.etag != written.etag) return;
    if (now.kind == Kind::kFile && now.lineage == 0) now.lineage = version_of(now);
    now.etag = written.etag;
    now.last_modified_s = written.last_modified;
    now.implicit_dir = false;
    if (promised) return;  // the record is ahead, and the journal says by how much
    const int64_t mtime = now.mtime_ns;
    take_attributes(now, round->after);
    if (mtime != before.mtime_ns) now.mtime_ns = mtime;  // written meanwhile
    now.source = AttrSource::kHead;
  };
  c_.drafts.object_copied(round->ino, before.etag, written.etag);
  const Status s = c_.edits.write(round->ino, edit, promised ? nullptr : &round->ext);
  for (const uint64_t seq : std::exchange(round->promised, {})) {
    c_.edits.confirm(seq, round->ino, [](Inode& now) { now.source = AttrSource::kHead; });
  }
  crash_point("attributes-recorded");
  if (before.kind == Kind::kDirectory) drop_old_forms(before, round->key);
  if (!s.ok()) return end(round, s.error());
  const auto answer = [this, round](const Status&) { end(round, c_.entry(round->ino)); };
  // A copy within the second in which the object was made has its ETag and its time, or a PUT did not say
  // that time: after a crash nothing on the server would tell that the record is the older one.
  const bool told = written.etag != before.etag ||
                    (before.last_modified_s != 0 && written.last_modified != before.last_modified_s);
  if (told) return answer(Status());
  c_.ns.store().apply({}, c_.outstanding.wrap(answer));
}

// "dir" and "dir_$folder$" stood for the directory until now.
void AttrChanges::drop_old_forms(const Inode& inode, const std::string& key) {
  if (!inode.implicit_dir || key == "/" || key.empty()) return;
  const std::string bare = key.substr(0, key.size() - 1);
  if (c_.ns.options.compat_dir) removals_.drop_key(bare + std::string(kFolderSuffix), inode.parent);
  if (inode.source != AttrSource::kHead) return;
  removals_.drop_key(bare, inode.parent);
  const auto state = c_.records.load(inode.parent, inode.name);
  if (!state.ok() || !state->is_marker()) return;
  Notices notices;
  MutexLock lock(c_.ns.dir_lock(inode.parent));
  c_.records.remove_locked(inode.parent, inode.name, c_.ns.now(), notices);
}

void AttrChanges::end(const RoundPtr& round, const Result<Entry>& result) {
  if (!result.ok() && result.code() != Code::kCancelled) {
    for (const uint64_t seq : std::exchange(round->promised, {})) {
      log::error("attributes of {} were promised and cannot be written: {}", round->key,
                 result.error().message);
      c_.edits.doubt(seq, round->ino);
    }
  }
  round->turn.reset();
  for (const Wish& wish : round->wishes) {
    wish.done(result);
    c_.ledger.end(wish.change);
  }
}

// --- writeback

void AttrChanges::ahead(uint64_t ino, Wish wish) {
  learn(ino, [this, ino, wish = std::move(wish)](const Status& known) {
    const auto fail = [this, &wish](const Error& error) {
      wish.done(error);
      c_.ledger.end(wish.change);
    };
    if (!known.ok()) return fail(known.error());
    auto inode = c_.ns.inodes.get(ino);
    auto key = c_.ns.inodes.key_of(ino);
    if (!inode.ok() || !key.ok())
      return fail(Error{Code::kStale, "inode " + std::to_string(ino) + " is gone"});
    Ext ext = c_.ext_of_ino(ino);
    Status s = wish.edit(*inode, ext);
    if (s.ok()) s = check_user_metadata(c_.headers(*inode, ext, *key));
    if (!s.ok()) return fail(s.error());
    Intent intent;
    intent.op = Intent::Op::kAttributes;
    intent.promised = true;
    intent.ino = ino;
    intent.parent = inode->parent;
    intent.name = inode->name;
    intent.is_dir = inode->kind == Kind::kDirectory;
    intent.key = *key;
    intent.made_at_ns = c_.ns.now();
    auto seq = std::make_shared<uint64_t>(0);
    const auto durable = [this, ino, wish, seq, intent, entry = c_.entry(ino, *inode)](const Status& done) {
      if (done.ok()) {
        crash_point("attributes-promised");
        wish.done(entry);
        behind(ino, *seq);
      } else {
        c_.edits.lost(*seq, intent);
        wish.done(done.error());
      }
      c_.ledger.end(wish.change);
    };
    const auto edit = [&inode](Inode& now) { take_attributes(now, *inode); };
    if (Status written =
            c_.edits.write_ahead(ino, edit, &ext, intent, seq.get(), c_.outstanding.wrap(durable));
        !written.ok()) {
      fail(written.error());
    }
  });
}

void AttrChanges::behind(uint64_t ino, uint64_t seq) {
  bool first = false;
  {
    MutexLock lock(mu_);
    auto& list = behind_[ino];
    first = list.empty();
    list.push_back(seq);
  }
  if (!first) return;
  auto round = std::make_shared<Round>();
  round->ino = ino;
  Wish counted{[](Inode&, Ext&) { return Status(); }, [](const Result<Entry>&) {}, c_.ledger.begin()};
  c_.queue.run(ino, [this, round, counted](InodeQueue::Turn turn) {
    round->turn = std::move(turn);
    {
      MutexLock lock(mu_);
      waiting_[round->ino].push_back(counted);
    }
    begin(round);
  });
}

void AttrChanges::resume(uint64_t seq, const Intent& intent) { behind(intent.ino, seq); }

}  // namespace s3cache::core
