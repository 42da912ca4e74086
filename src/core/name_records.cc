#include "core/name_records.h"

#include "base/bytes.h"
#include "core/dir_collect.h"
#include "core/draft_journal.h"

namespace s3cache::core {

using meta::Batch;
using meta::Dirent;
using meta::Ext;
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

std::string tail_of_inode(const Inode& inode) {
  return inode.kind == Kind::kDirectory ? inode.name + '/' : inode.name;
}

void put_ext(Batch& batch, uint64_t ino, const Ext& ext) {
  if (empty(ext)) {
    batch.erase(Table::kExt, meta::id_key(ino));
  } else {
    batch.put(Table::kExt, meta::id_key(ino), ext.encode());
  }
}

}  // namespace

// --- who pins what

std::string NameRecords::tail_of(std::string_view name, bool is_dir) {
  return is_dir ? std::string(name) + '/' : std::string(name);
}

void NameRecords::own(uint64_t dir, const std::string& tail, uint64_t seq, Intent::Op op) {
  MutexLock lock(mu_);
  owners_[be64(dir) + tail] = {seq, op};
}

void NameRecords::disown(uint64_t dir, const std::string& tail, uint64_t seq) {
  MutexLock lock(mu_);
  const auto it = owners_.find(be64(dir) + tail);
  if (it != owners_.end() && it->second.seq == seq) owners_.erase(it);
}

std::optional<NameRecords::Owner> NameRecords::owner(uint64_t dir, const std::string& tail) {
  MutexLock lock(mu_);
  const auto it = owners_.find(be64(dir) + tail);
  return it == owners_.end() ? std::nullopt : std::optional<Owner>(it->second);
}

bool NameRecords::owns(uint64_t seq, uint64_t dir, const std::string& tail) {
  const auto now = owner(dir, tail);
  return now && now->seq == seq;
}

std::optional<Dirent> NameRecords::dirent(uint64_t dir, const std::string& tail) {
  auto value = load_record<Dirent>(c_.store(), Table::kDirent, be64(dir) + tail);
  return value.ok() ? *value : std::nullopt;
}

void NameRecords::adopt(uint64_t seq, const Intent& intent) {
  (void)c_.inodes.pins().add(intent.parent);
  own(intent.parent, tail_of(intent.name, intent.is_dir), seq, intent.op);
  const bool moved = intent.op == Intent::Op::kRenameTree && intent.stage == 1;
  if ((intent.op == Intent::Op::kRemove && intent.is_dir) || moved) {
    own(intent.parent, intent.name, seq, intent.op);
  }
  if (moved) return;  // its new name is settled
  if (intent.op != Intent::Op::kRename && intent.op != Intent::Op::kRenameTree) return;
  (void)c_.inodes.pins().add(intent.new_parent);
  own(intent.new_parent, tail_of(intent.new_name, intent.is_dir), seq, intent.op);
}

// --- new names

Status NameRecords::make(const Inode& inode, const Ext& ext, Intent intent, Made* made, Durable durable) {
  auto id = c_.store().next_id();
  if (!id.ok()) return id.error();
  const std::string tail = tail_of_inode(inode);
  MutexLock lock(c_.dir_lock(inode.parent));
  auto state = records_.load(inode.parent, inode.name);
  if (!state.ok()) return state.error();
  if (DirRecords::pick(*state).found) return Error{Code::kExists, inode.name + " exists"};
  if (Status s = c_.inodes.pins().add(inode.parent); !s.ok()) return s.error();
  Batch batch;
  intent.ino = *id;
  intent.parent = inode.parent;
  intent.name = inode.name;
  intent.is_dir = inode.kind == Kind::kDirectory;
  const uint64_t seq = journal_.add(batch, intent);
  Inode record = inode;
  if (record.kind == Kind::kFile) record.lineage = *id;
  batch.put(Table::kInode, meta::id_key(*id), record.encode());
  batch.put(Table::kDirent, be64(inode.parent) + tail, encoded(*id, kPinned));
  if (!empty(ext)) put_ext(batch, *id, ext);
  if (intent.is_dir) {
    meta::Dir dir;
    dir.listed_at_ns = c_.now();
    dir.complete = true;
    batch.put(Table::kDir, meta::id_key(*id), dir.encode());
  }
  own(inode.parent, tail, seq, intent.op);
  *made = {*id, seq};
  c_.store().apply(std::move(batch), std::move(durable));
  return {};
}

void NameRecords::lost(uint64_t seq, const Intent& intent) {
  disown(intent.parent, tail_of(intent.name, intent.is_dir), seq);
  if (intent.is_dir) disown(intent.parent, intent.name, seq);
  c_.inodes.pins().drop(intent.parent);
  if (intent.op != Intent::Op::kRename && intent.op != Intent::Op::kRenameTree) return;
  disown(intent.new_parent, tail_of(intent.new_name, intent.is_dir), seq);
  c_.inodes.pins().drop(intent.new_parent);
}

// A file that a writer began to change while its earlier change was on its way stays local and pinned: what
// S3 says of it would hide what is written here. True: there is such a writer.
bool NameRecords::edit_beside_draft(uint64_t ino, Inode& inode, const Edit& edit) {
  const auto source = inode.source;
  const bool drafted = inode.kind == Kind::kFile && has_draft_mark(c_.store(), ino);
  edit(inode);
  if (drafted) inode.source = source;
  return drafted;
}

void NameRecords::confirm(uint64_t seq, uint64_t ino, const Edit& edit) {
  const auto before = c_.inodes.get(ino);
  Batch rest;
  journal_.done(rest, seq);
  if (!before.ok()) return c_.store().apply(std::move(rest));
  const std::string tail = tail_of_inode(*before);
  {
    MutexLock lock(c_.dir_lock(before->parent));
    const bool mine = owns(seq, before->parent, tail);
    (void)c_.inodes.update(ino, [&](Inode& inode, Batch& batch) {
      if (mine && !edit_beside_draft(ino, inode, edit)) {
        batch.put(Table::kDirent, be64(before->parent) + tail, encoded(ino, c_.now()));
      } else if (!mine && (inode.flags & meta::kUnlinked) != 0) {
        edit(inode);  // whoever removes it has to know that S3 has it
      }
      journal_.done(batch, seq);
      return true;
    });
    disown(before->parent, tail, seq);
  }
  c_.inodes.pins().drop(before->parent);
}

void NameRecords::handed_over(uint64_t seq, uint64_t ino) {
  const auto inode = c_.inodes.get(ino);
  Batch batch;
  journal_.done(batch, seq);
  c_.store().apply(std::move(batch));
  if (!inode.ok()) return;
  disown(inode->parent, tail_of_inode(*inode), seq);
  c_.inodes.pins().drop(inode->parent);
}

void NameRecords::doubt(uint64_t seq, uint64_t ino) {
  confirm(seq, ino, [](Inode& inode) { inode.source = meta::AttrSource::kListing; });
  records_.touch(ino, kExpired);
}

void NameRecords::retract(uint64_t seq, uint64_t ino) {
  const auto inode = c_.inodes.get(ino);
  Batch batch;
  journal_.done(batch, seq);
  if (!inode.ok()) return c_.store().apply(std::move(batch));
  const std::string tail = tail_of_inode(*inode);
  {
    MutexLock lock(c_.dir_lock(inode->parent));
    if (owns(seq, inode->parent, tail)) {
      batch.erase(Table::kDirent, be64(inode->parent) + tail);
      if (inode->kind == Kind::kDirectory) DirCollector::condemn(ino, batch);
    }
    c_.inodes.remove(ino, std::move(batch));
    disown(inode->parent, tail, seq);
  }
  c_.inodes.pins().drop(inode->parent);
}

void NameRecords::uploaded(uint64_t ino) {
  const auto inode = c_.inodes.get(ino);
  if (!inode.ok() || (inode->flags & meta::kUnlinked) != 0) return;
  const auto now = owner(inode->parent, inode->name);
  if (now && now->op == Intent::Op::kCreate) return confirm(now->seq, ino, [](Inode&) {});
  if (now) return;  // a later change of the name takes the pin off
  MutexLock lock(c_.dir_lock(inode->parent));
  const auto known = dirent(inode->parent, inode->name);
  if (!known || known->ino != ino) return;
  Batch batch;
  batch.put(Table::kDirent, be64(inode->parent) + inode->name, encoded(ino, c_.now()));
  c_.store().apply(std::move(batch));
}

// --- attributes

Status NameRecords::write(uint64_t ino, const Edit& edit, const Ext* ext) {
  const auto before = c_.inodes.get(ino);
  if (!before.ok()) return before.error();
  const std::string tail = tail_of_inode(*before);
  MutexLock lock(c_.dir_lock(before->parent));
  const auto known = ino == meta::kRootIno ? std::nullopt : dirent(before->parent, tail);
  const auto updated = c_.inodes.update(ino, [&](Inode& inode, Batch& batch) {
    (void)edit_beside_draft(ino, inode, edit);
    if (ext != nullptr) put_ext(batch, ino, *ext);
    if (known && known->ino == ino && known->checked_at_ns != kPinned) {
      batch.put(Table::kDirent, be64(before->parent) + tail, encoded(ino, c_.now()));
    }
    return true;
  });
  return updated.ok() ? Status() : Status(updated.error());
}

Status NameRecords::write_ahead(uint64_t ino, const Edit& edit, const Ext* ext, Intent intent, uint64_t* seq,
                                Durable durable) {
  const auto before = c_.inodes.get(ino);
  if (!before.ok()) return before.error();
  const std::string tail = tail_of_inode(*before);
  intent.ino = ino;
  intent.parent = before->parent;
  intent.name = before->name;
  intent.is_dir = before->kind == Kind::kDirectory;
  if (Status s = c_.inodes.pins().add(before->parent); !s.ok()) return s.error();
  MutexLock lock(c_.dir_lock(before->parent));
  const auto updated = c_.inodes.update(
      ino,
      [&](Inode& inode, Batch& batch) {
        edit(inode);
        inode.source = meta::AttrSource::kLocal;
        if (ext != nullptr) put_ext(batch, ino, *ext);
        if (ino != meta::kRootIno) {
          batch.put(Table::kDirent, be64(before->parent) + tail, encoded(ino, kPinned));
        }
        *seq = journal_.add(batch, intent);
        own(before->parent, tail, *seq, intent.op);
        return true;
      },
      std::move(durable));
  if (updated.ok()) return {};
  c_.inodes.pins().drop(before->parent);
  return updated.error();
}

}  // namespace s3cache::core
