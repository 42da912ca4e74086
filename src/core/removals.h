// Removals: unlink and rmdir, and everything else that ends with the deletion of an object.
//
// The caller is answered when the intent is durable and the name hidden; the object goes with a batch, after
// what is under way for the same inode and key. An object that open handles still need is deleted when they
// are closed, when somebody wants its key, or at the end of the mount. A refused deletion brings the name
// back; one that failed for lack of a server is tried again for ever. When the last name of a directory
// without an object of its own goes, it gets one ("dir/"), as it would vanish with its last key, which POSIX
// does not know. Threads: any; no lock over requests and callbacks. Errors: those of Mutations; kNotEmpty.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/change_context.h"

namespace s3cache::core {

class Removals {
 public:
  explicit Removals(ChangeContext& context) : c_(context) {}

  void unlink(uint64_t parent, std::string name, Callback<void> done);
  void rmdir(uint64_t parent, std::string name, Callback<void> done);

  // The deletion of an intent that is in the journal under `seq`: `turn` is its places. `ready` says that it
  // is durable. Checked against the server first when `verify` (at replay).
  // `change`: what it is the end of, in the ledger; 0: nothing.
  void start(uint64_t seq, const meta::Intent& intent, bool verify, uint64_t change = 0);
  // kNotEmpty, or ok: no name in the directory. Asks the server unless the records are complete.
  void check_empty(uint64_t dir, Callback<void> done);
  // Somebody wants to make an object of this key, or of any that begins with it: what is in its way goes now.
  // "a/" means all below it, "" everything.
  void hurry(const std::string& key_prefix) EXCLUDES(mu_);
  // The record of an inode that lost its name to another.
  void discard(uint64_t ino, bool is_dir);
  // A key without a name: an old form of a directory. Tried once.
  void drop_key(const std::string& key, uint64_t dir);
  // Directories that lost names: those without an object and without names get one.
  void keep_directories(const std::vector<uint64_t>& dirs);

 private:
  struct Removal;
  using RemovalPtr = std::shared_ptr<Removal>;

  void hide(uint64_t parent, const std::string& name, const ChangeContext::Place& place, Callback<void> done);
  void send(const RemovalPtr& removal);
  bool hold(const RemovalPtr& removal) EXCLUDES(mu_);
  void release_held(const std::string& key_prefix) EXCLUDES(mu_);
  void verify(const RemovalPtr& removal);
  void add_to_batch(const RemovalPtr& removal);
  void ended(const RemovalPtr& removal, const Status& status);
  void finish(const RemovalPtr& removal);
  void keep_directory(uint64_t dir);
  bool has_names(uint64_t dir);
  void forget_closed() EXCLUDES(mu_);

  ChangeContext& c_;
  Mutex mu_;
  std::map<std::string, RemovalPtr> held_ GUARDED_BY(mu_);  // key -> waits for its handles
  std::map<uint64_t, uint64_t> kept_ GUARDED_BY(mu_);       // ino -> seq: deleted, but its record is in use
};

}  // namespace s3cache::core
