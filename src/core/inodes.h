// Inodes: read-modify-write of inode records, and the way from an inode to its S3 key.
//
// Every change of a kInode record goes through update(), which holds the inode's lock (one of 256 stripes)
// from the read to the apply(), so that two writers of different fields never lose each other's change.
// Threads: any. Errors: kNotFound (collected or unlinked), and those of MetaStore.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/sync.h"
#include "core/pins.h"
#include "meta/meta_store.h"
#include "meta/records.h"

namespace s3cache::core {

class Inodes {
 public:
  // `prefix` is the mount's: "" or "a/b/". Makes the root record if it is not there.
  Inodes(meta::MetaStore& store, std::string prefix);

  meta::MetaStore& store() { return store_; }
  const std::string& prefix() const { return prefix_; }

  Result<meta::Inode> get(uint64_t ino);

  // Calls `change` with the current record under the inode's lock; false from it means "leave as it is".
  // Further operations that must be atomic with the change are put into `batch` by `change`. Returns the
  // record as it stands afterwards. `change` must not call Inodes.
  using Change = std::function<bool(meta::Inode& inode, meta::Batch& batch)>;
  Result<meta::Inode> update(uint64_t ino, const Change& change);
  // As update(), with a word about the disk: `durable` runs as MetaStore::apply() has it, or not at all when
  // `change` said false or an error is returned.
  Result<meta::Inode> update(uint64_t ino, const Change& change, meta::MetaStore::Durable durable);

  // Removes the record and what hangs on it (ext, dir) under the inode's lock, so that an update() in flight
  // finds nothing instead of bringing the record back. `batch` is applied with it, atomically.
  void remove(uint64_t ino, meta::Batch batch);

  // The same, if the record is there and `may` says so under the lock. False: nothing was done.
  bool remove_if(uint64_t ino, const std::function<bool(const meta::Inode&)>& may, meta::Batch batch);

  // The S3 key: prefix + path; a directory's ends in '/', the root's is the prefix. kNotFound if an ancestor
  // is gone.
  Result<std::string> key_of(uint64_t ino);
  // The same where the inode's record is at hand. REQUIRES: ino is not the root's.
  Result<std::string> key_of(uint64_t ino, const meta::Inode& inode);
  // Whether `ino` is `dir` or somewhere below it.
  bool is_below(uint64_t ino, uint64_t dir);
  // Key of the child `name` of a directory, without a trailing '/'.
  Result<std::string> child_key(uint64_t parent, std::string_view name);

  // A directory of this mount was renamed on S3, where it took a while: what was listed meanwhile at or below
  // it is no answer. now_ns: when it was over.
  void note_tree_move(uint64_t dir, int64_t now_ns) EXCLUDES(moves_mu_);
  bool tree_moved_since(uint64_t dir, int64_t asked_at_ns) EXCLUDES(moves_mu_);

  // One lock a directory (striped) for its dirents. Lock order: directory -> Pins -> inode.
  Mutex& dir_lock(uint64_t ino) { return dir_locks_[ino % dir_locks_.size()]; }
  Pins& pins() { return pins_; }

 private:
  void remove_locked(uint64_t ino, meta::Batch batch);
  Mutex& stripe(uint64_t ino) { return stripes_[ino % stripes_.size()]; }

  meta::MetaStore& store_;
  const std::string prefix_;
  std::array<Mutex, 256> stripes_;
  std::array<Mutex, 256> dir_locks_;
  Pins pins_{*this};
  static constexpr size_t kMoves = 64;  // the last ones; a listing's page does not take longer than these
  Mutex moves_mu_;
  std::deque<std::pair<uint64_t, int64_t>> moves_ GUARDED_BY(moves_mu_);
};

}  // namespace s3cache::core
