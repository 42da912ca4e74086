// NameRecords: the records of names that this mount makes, removes and moves, with their journal.
//
// A change pins its names (Dirent::checked_at = kPinned) and writes its Intent in the same batch: a pinned
// name always has somebody who takes the pin off, also after a crash. A name may be pinned by one change
// after another (removed, made again); it belongs to the last of them, and only that one unpins it. A removed
// name stays as a pinned dirent of inode 0, so that a listing on its way cannot bring it back; its inode
// stays too, marked kUnlinked, until S3 has deleted the object.
//
// Threads: any. Takes directory locks, then Pins', then inodes'. Owns: who pins which name. Errors: kExists,
// kNotFound (the name or its directory is gone), those of MetaStore. Durable callbacks as MetaStore::apply().
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/dir_records.h"
#include "core/journal.h"

namespace s3cache::core {

class NameRecords {
 public:
  NameRecords(NsContext& context, DirRecords& records, Journal& journal)
      : c_(context), records_(records), journal_(journal) {}

  using Edit = std::function<void(meta::Inode& inode)>;
  using Durable = meta::MetaStore::Durable;

  // A new name. `inode` names its parent and itself; a directory is complete from the start.
  struct Made {
    uint64_t ino = 0, seq = 0;
  };
  // Here and below: `durable` may run before the call returns, so what it needs is written first.
  Status make(const meta::Inode& inode, const meta::Ext& ext, meta::Intent intent, Made* made,
              Durable durable);
  // The batch of a change with `durable` never reached the disk: it was not made.
  void lost(uint64_t seq, const meta::Intent& intent);
  // The draft that has the name pinned too takes the change along: out of the journal, still pinned.
  void handed_over(uint64_t seq, uint64_t ino);
  // S3 has the change `seq` of this name. `edit` changes the inode's record, only while the name is still
  // `seq`'s.
  void confirm(uint64_t seq, uint64_t ino, const Edit& edit);
  // What a change made here may not be on S3, or not as it is here: the next question goes there.
  void doubt(uint64_t seq, uint64_t ino);
  // A name that make() made is taken back: S3 does not have it.
  void retract(uint64_t seq, uint64_t ino);
  // The inode's upload is done: takes the pin off, whoever's it is but a later change's.
  void uploaded(uint64_t ino);

  // Hides a name. The intent's parent, name, is_dir and ino say which. False from `still` (under the lock):
  // kNotEmpty.
  Status hide(const meta::Intent& intent, const std::function<bool()>& still, uint64_t* seq, Durable durable);
  // S3 has deleted it. keep_record: somebody has it open; forget() ends it later (stage 1 in the journal).
  void gone(uint64_t seq, const meta::Intent& intent, bool keep_record);
  void forget(uint64_t seq, uint64_t ino);
  // S3 has refused: the name is there again, unless another took its place. False: it was taken.
  bool reveal(uint64_t seq, const meta::Intent& intent);

  // Pins both names of a rename while S3 copies; what lies there stays visible.
  Status hold(const meta::Intent& rename, uint64_t* seq, Durable durable);
  void release(uint64_t seq, const meta::Intent& rename);
  // The held name moves. The old one is hidden by `removal`, the journal's next record of this change. What
  // lay at the new name has none any more; its record is the caller's. `next`: the removal's seq. `more`
  // joins the batch.
  Status move(uint64_t seq, const meta::Intent& rename, const meta::Intent& removal, const Edit& edit,
              meta::Batch more, uint64_t* next, Durable durable);
  // The same for a file that S3 never had, in one step.
  Status move_local(const meta::Intent& rename, Durable durable);

  // Attributes that S3 has now (edit), or not yet: `intent` then pins the name and says so in the journal.
  // `ext`, if given, takes the place of the record's.
  Status write(uint64_t ino, const Edit& edit, const meta::Ext* ext);
  Status write_ahead(uint64_t ino, const Edit& edit, const meta::Ext* ext, meta::Intent intent, uint64_t* seq,
                     Durable durable);

  // At the start: the pins of an intent of the journal, in order.
  void adopt(uint64_t seq, const meta::Intent& intent);

 private:
  bool edit_beside_draft(uint64_t ino, meta::Inode& inode, const Edit& edit);
  struct Owner {
    uint64_t seq;
    meta::Intent::Op op;
  };
  // Creations whose pins a rename's have taken the place of.
  struct Displaced {
    std::optional<Owner> source, target;
  };
  Displaced take_displaced(uint64_t seq) EXCLUDES(mu_);
  void end_creation(const std::optional<Owner>& creation, uint64_t dir, meta::Batch& batch);
  static std::string tail_of(std::string_view name, bool is_dir);
  void own(uint64_t dir, const std::string& tail, uint64_t seq, meta::Intent::Op op) EXCLUDES(mu_);
  void disown(uint64_t dir, const std::string& tail, uint64_t seq) EXCLUDES(mu_);
  std::optional<Owner> owner(uint64_t dir, const std::string& tail) EXCLUDES(mu_);
  bool owns(uint64_t seq, uint64_t dir, const std::string& tail) EXCLUDES(mu_);
  std::optional<meta::Dirent> dirent(uint64_t dir, const std::string& tail);

  NsContext& c_;
  DirRecords& records_;
  Journal& journal_;
  Mutex mu_;
  std::map<std::string, Owner> owners_ GUARDED_BY(mu_);      // dirent key -> whose pin it is
  std::map<uint64_t, Displaced> displaced_ GUARDED_BY(mu_);  // by the rename's seq
};

}  // namespace s3cache::core
