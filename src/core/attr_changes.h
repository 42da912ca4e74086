// AttrChanges: mode, owner, times and xattrs, which on S3 are the headers of an object.
//
// A file's object is copied onto itself with new headers (its bytes do not move: pages and version stay), a
// directory's marker is written anew, which makes one for a directory that had none. Changes of one inode
// that wait for each other become one copy. What the object says besides is learnt first, so that nothing of
// it is lost. A file with a draft takes its attributes along with its next upload. writeback: the record
// changes at once, durably, and the copy follows. Threads: any. Owns: what waits. Errors: those of Mutations;
// kNoSpace: over 2 KB of attributes; kStale: the object changed again and again meanwhile.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "core/object_copy.h"
#include "core/removals.h"

namespace s3cache::core {

inline void take_attributes(meta::Inode& to, const meta::Inode& from) {
  to.mode = from.mode;
  to.uid = from.uid;
  to.gid = from.gid;
  to.has_owner = from.has_owner;
  to.rdev = from.rdev;
  to.mtime_ns = from.mtime_ns;
  to.ctime_ns = from.ctime_ns;
  to.atime_ns = from.atime_ns;
}

class AttrChanges {
 public:
  AttrChanges(ChangeContext& context, Removals& removals)
      : c_(context), removals_(removals), copier_(context.ns.s3, context.options) {}

  // Called under no lock, more than once if the object changes meanwhile.
  using Edit = std::function<Status(meta::Inode& inode, meta::Ext& ext)>;
  void change(uint64_t ino, Edit edit, Callback<Entry> done);
  // At replay: the record of the intent's inode goes to S3.
  void resume(uint64_t seq, const meta::Intent& intent);

 private:
  struct Wish {
    Edit edit;
    Callback<Entry> done;
    uint64_t change = 0;  // in the ledger
  };
  struct Round;
  using RoundPtr = std::shared_ptr<Round>;

  void without_name(uint64_t ino, meta::Inode inode, const Wish& wish);
  bool to_draft(uint64_t ino, Wish& wish);
  void enqueue(uint64_t ino, Wish wish) EXCLUDES(mu_);
  void ahead(uint64_t ino, Wish wish);
  void behind(uint64_t ino, uint64_t seq) EXCLUDES(mu_);
  void begin(const RoundPtr& round) EXCLUDES(mu_);
  // Calls back when the record says all that the object does.
  void learn(uint64_t ino, Callback<void> done);
  void ask_headers(uint64_t ino, Callback<void> done);
  void apply(const RoundPtr& round);
  bool hand_to_draft(const RoundPtr& round);
  void send(const RoundPtr& round);
  void sent(const RoundPtr& round, const Result<s3::Written>& written);
  void confirm(const RoundPtr& round, const s3::Written& written);
  void drop_old_forms(const meta::Inode& inode, const std::string& key);
  void meet_version(const RoundPtr& round);
  void again(const RoundPtr& round);
  void end(const RoundPtr& round, const Result<Entry>& result);

  ChangeContext& c_;
  Removals& removals_;
  ObjectCopier copier_;
  Mutex mu_;
  std::unordered_map<uint64_t, std::vector<Wish>> waiting_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, std::vector<uint64_t>> behind_ GUARDED_BY(mu_);  // ino -> promised, by seq
};

}  // namespace s3cache::core
