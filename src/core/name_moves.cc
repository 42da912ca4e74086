// The part of NameRecords that takes names away and moves them.
#include "base/bytes.h"
#include "core/dir_collect.h"
#include "core/draft_journal.h"
#include "core/name_records.h"

namespace s3cache::core {

using meta::Batch;
using meta::Dirent;
using meta::Inode;
using meta::Intent;
using meta::Kind;
using meta::Table;

namespace {

std::string encoded(uint64_t ino, int64_t checked_at_ns) {
  Dirent dirent;
  dirent.ino = ino;
  dirent.checked_at_ns = checked_at_ns;
  return dirent.encode();
}

}  // namespace

// --- away

Status NameRecords::hide(const Intent& intent, const std::function<bool()>& still, uint64_t* seq,
                         Durable durable) {
  const std::string tail = tail_of(intent.name, intent.is_dir);
  MutexLock lock(c_.dir_lock(intent.parent));
  const auto known = dirent(intent.parent, tail);
  if (!known || known->ino != intent.ino)
    return Error{Code::kNotFound, intent.name + " is not there any more"};
  if (still && !still()) return Error{Code::kNotEmpty, intent.name + " is not empty"};
  if (Status s = c_.inodes.pins().add(intent.parent); !s.ok()) return s.error();
  // A file that was never uploaded: the removal takes over what its creation has in the journal.
  const auto creation = owner(intent.parent, tail);
  const bool created = creation && creation->op == Intent::Op::kCreate;
  const auto hidden = c_.inodes.update(
      intent.ino,
      [&](Inode& inode, Batch& batch) {
        inode.flags |= meta::kUnlinked;
        batch.put(Table::kDirent, be64(intent.parent) + tail, encoded(0, kPinned));
        // The absence of a directory is the absence of the name.
        if (intent.is_dir) batch.put(Table::kDirent, be64(intent.parent) + intent.name, encoded(0, kPinned));
        *seq = journal_.add(batch, intent);
        if (created) journal_.done(batch, creation->seq);
        own(intent.parent, tail, *seq, intent.op);
        if (intent.is_dir) own(intent.parent, intent.name, *seq, intent.op);
        return true;
      },
      std::move(durable));
  if (!hidden.ok() || created) c_.inodes.pins().drop(intent.parent);
  return hidden.ok() ? Status() : Status(hidden.error());
}

void NameRecords::gone(uint64_t seq, const Intent& intent, bool keep_record) {
  const std::string tail = tail_of(intent.name, intent.is_dir);
  {
    MutexLock lock(c_.dir_lock(intent.parent));
    Batch batch;
    // A directory that is gone itself needs no word about its names.
    const auto parent = c_.inodes.get(intent.parent);
    const bool told = parent.ok() && (parent->flags & meta::kUnlinked) == 0;
    const auto settle = [&](const std::string& which, bool negative) {
      if (!owns(seq, intent.parent, which)) return;
      if (told && negative) {
        batch.put(Table::kDirent, be64(intent.parent) + which, encoded(0, c_.now()));
      } else {
        batch.erase(Table::kDirent, be64(intent.parent) + which);
      }
      disown(intent.parent, which, seq);
    };
    settle(tail, true);
    if (intent.is_dir) settle(intent.name, true);
    if (keep_record) {
      Intent rest = intent;
      rest.stage = 1;
      journal_.change(batch, seq, rest);
      c_.store().apply(std::move(batch));
    } else {
      journal_.done(batch, seq);
      if (intent.is_dir && intent.ino != 0) DirCollector::condemn(intent.ino, batch);
      c_.inodes.remove(intent.ino, std::move(batch));
    }
  }
  c_.inodes.pins().drop(intent.parent);
}

void NameRecords::forget(uint64_t seq, uint64_t ino) {
  Batch batch;
  journal_.done(batch, seq);
  c_.inodes.remove(ino, std::move(batch));
}

bool NameRecords::reveal(uint64_t seq, const Intent& intent) {
  const std::string tail = tail_of(intent.name, intent.is_dir);
  bool mine = false;
  {
    MutexLock lock(c_.dir_lock(intent.parent));
    mine = owns(seq, intent.parent, tail);
    if (intent.ino == 0) {
      // The old place of a rename: what is still there is somebody new.
      Batch batch;
      journal_.done(batch, seq);
      if (mine) batch.erase(Table::kDirent, be64(intent.parent) + tail);
      if (mine) batch.put(Table::kDirent, be64(intent.parent) + intent.name, encoded(0, kExpired));
      c_.store().apply(std::move(batch));
    }
    (void)c_.inodes.update(intent.ino, [&](Inode& inode, Batch& batch) {
      journal_.done(batch, seq);
      if (!mine) return true;
      inode.flags &= ~meta::kUnlinked;
      batch.put(Table::kDirent, be64(intent.parent) + tail, encoded(intent.ino, kExpired));
      if (intent.is_dir && owns(seq, intent.parent, intent.name)) {
        batch.erase(Table::kDirent, be64(intent.parent) + intent.name);
      }
      return true;
    });
    disown(intent.parent, tail, seq);
    if (intent.is_dir) disown(intent.parent, intent.name, seq);
  }
  c_.inodes.pins().drop(intent.parent);
  return mine;
}

// --- elsewhere

Status NameRecords::hold(const Intent& rename, uint64_t* seq, Durable durable) {
  const std::string from = tail_of(rename.name, rename.is_dir), to = tail_of(rename.new_name, rename.is_dir);
  const DirPairLock lock(c_, rename.parent, rename.new_parent);
  const auto source = dirent(rename.parent, from);
  if (!source || source->ino != rename.ino)
    return Error{Code::kNotFound, rename.name + " is not there any more"};
  if (Status s = c_.inodes.pins().add(rename.parent); !s.ok()) return s.error();
  if (Status s = c_.inodes.pins().add(rename.new_parent); !s.ok()) {
    c_.inodes.pins().drop(rename.parent);
    return s.error();
  }
  const auto target = dirent(rename.new_parent, to);
  Batch batch;
  *seq = journal_.add(batch, rename);
  batch.put(Table::kDirent, be64(rename.parent) + from, encoded(rename.ino, kPinned));
  batch.put(Table::kDirent, be64(rename.new_parent) + to, encoded(target ? target->ino : 0, kPinned));
  const auto creation = [this](uint64_t dir, const std::string& tail) {
    const auto now = owner(dir, tail);
    return now && now->op == Intent::Op::kCreate ? now : std::nullopt;
  };
  const Displaced displaced{creation(rename.parent, from), creation(rename.new_parent, to)};
  own(rename.parent, from, *seq, rename.op);
  own(rename.new_parent, to, *seq, rename.op);
  {
    MutexLock owners(mu_);
    displaced_[*seq] = displaced;
  }
  c_.store().apply(std::move(batch), std::move(durable));
  return {};
}

void NameRecords::end_creation(const std::optional<Owner>& creation, uint64_t dir, Batch& batch) {
  if (!creation) return;
  journal_.done(batch, creation->seq);
  c_.inodes.pins().drop(dir);
}

NameRecords::Displaced NameRecords::take_displaced(uint64_t seq) {
  MutexLock lock(mu_);
  const auto it = displaced_.find(seq);
  if (it == displaced_.end()) return {};
  Displaced out = it->second;
  displaced_.erase(it);
  return out;
}

void NameRecords::release(uint64_t seq, const Intent& rename) {
  {
    const DirPairLock lock(c_, rename.parent, rename.new_parent);
    Batch batch;
    journal_.done(batch, seq);
    const Displaced displaced = take_displaced(seq);
    end_creation(displaced.source, rename.parent, batch);
    const auto expire = [&](uint64_t dir, const std::string& tail) {
      if (!owns(seq, dir, tail)) return;
      disown(dir, tail, seq);
      const auto known = dirent(dir, tail);
      if (!known) return;
      // A copy whose answer was lost may be there: absence has to be asked for, also in a complete directory.
      batch.put(Table::kDirent, be64(dir) + tail, encoded(known->ino, kExpired));
    };
    expire(rename.parent, tail_of(rename.name, rename.is_dir));
    if (displaced.target) {
      own(rename.new_parent, rename.new_name, displaced.target->seq, displaced.target->op);
    } else {
      expire(rename.new_parent, tail_of(rename.new_name, rename.is_dir));
    }
    c_.store().apply(std::move(batch));
  }
  c_.inodes.pins().drop(rename.parent);
  c_.inodes.pins().drop(rename.new_parent);
}

Status NameRecords::move(uint64_t seq, const Intent& rename, const Intent& removal, const Edit& edit,
                         Batch more, uint64_t* next, Durable durable) {
  const std::string from = tail_of(rename.name, rename.is_dir), to = tail_of(rename.new_name, rename.is_dir);
  {
    const DirPairLock lock(c_, rename.parent, rename.new_parent);
    const Displaced displaced = take_displaced(seq);
    end_creation(displaced.source, rename.parent, more);
    end_creation(displaced.target, rename.new_parent, more);
    const auto moved = c_.inodes.update(
        rename.ino,
        [&](Inode& inode, Batch& batch) {
          edit(inode);
          inode.parent = rename.new_parent;
          inode.name = rename.new_name;
          batch.put(Table::kDirent, be64(rename.parent) + from, encoded(0, kPinned));
          if (rename.is_dir)
            batch.put(Table::kDirent, be64(rename.parent) + rename.name, encoded(0, kPinned));
          // Written while it was copied: the draft has the name.
          const int64_t checked = has_draft_mark(c_.store(), rename.ino) ? kPinned : c_.now();
          batch.put(Table::kDirent, be64(rename.new_parent) + to, encoded(rename.ino, checked));
          if (rename.is_dir) batch.erase(Table::kDirent, be64(rename.new_parent) + rename.new_name);
          journal_.done(batch, seq);
          *next = journal_.add(batch, removal);
          for (Batch::Op& op : more.ops()) batch.ops().push_back(std::move(op));
          disown(rename.new_parent, to, seq);
          own(rename.parent, from, *next, removal.op);
          if (rename.is_dir) own(rename.parent, rename.name, *next, removal.op);
          return true;
        },
        std::move(durable));
    if (!moved.ok()) return moved.error();
  }
  c_.inodes.pins().drop(rename.new_parent);  // the removal keeps the old one's
  return {};
}

Status NameRecords::move_local(const Intent& rename, Durable durable) {
  const DirPairLock lock(c_, rename.parent, rename.new_parent);
  const auto source = dirent(rename.parent, rename.name);
  if (!source || source->ino != rename.ino)
    return Error{Code::kNotFound, rename.name + " is not there any more"};
  const auto creation = owner(rename.parent, rename.name);
  const auto replaced = owner(rename.new_parent, rename.new_name);
  if (creation) {
    if (Status s = c_.inodes.pins().add(rename.new_parent); !s.ok()) return s.error();
  }
  const auto moved = c_.inodes.update(
      rename.ino,
      [&](Inode& inode, Batch& batch) {
        inode.parent = rename.new_parent;
        inode.name = rename.new_name;
        // S3 never had it: an answer that is on its way cannot bring it back.
        batch.erase(Table::kDirent, be64(rename.parent) + rename.name);
        batch.put(Table::kDirent, be64(rename.new_parent) + rename.new_name, encoded(rename.ino, kPinned));
        if (creation) {
          Intent now = rename;
          now.op = creation->op;
          now.parent = rename.new_parent;
          now.name = rename.new_name;
          journal_.change(batch, creation->seq, now);
        }
        if (replaced && replaced->op == Intent::Op::kCreate) {
          journal_.done(batch, replaced->seq);
          if (!creation) disown(rename.new_parent, rename.new_name, replaced->seq);
        }
        return true;
      },
      std::move(durable));
  if (!moved.ok()) return moved.error();
  if (replaced && replaced->op == Intent::Op::kCreate) c_.inodes.pins().drop(rename.new_parent);
  if (creation) {
    own(rename.new_parent, rename.new_name, creation->seq, creation->op);
    disown(rename.parent, rename.name, creation->seq);
    c_.inodes.pins().drop(rename.parent);
  }
  return {};
}

}  // namespace s3cache::core
