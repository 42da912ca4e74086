// What TreeRename remembers of one rename. Threads: as said at each field.
#pragma once

#include <atomic>
#include <optional>
#include <unordered_map>

#include "core/tree_rename.h"

namespace s3cache::core {

struct TreeRename::Item {
  std::string tail;  // of the key, behind the directory's
  std::string etag, new_etag;
  int64_t size = 0, last_modified = 0, new_modified = 0;
  uint64_t ino = 0;  // 0: no record
  int tries = 0;
  bool copied = false;
  bool maybe = false;  // an answer was lost: the copy may be there
  bool made = false;   // a marker that has no source
};

struct TreeRename::Job {
  // Written by one step at a time.
  meta::Intent intent;
  uint64_t target = 0;
  meta::Inode inode;  // of the directory
  uint64_t change = 0, seq = 0, gate = 0;
  bool held = false;
  InodeQueue::Turn turn;
  Callback<void> done;  // null: answered

  std::atomic<size_t> waits{0};
  Mutex mu;
  std::vector<Item> items GUARDED_BY(mu);
  std::map<std::string, s3::ListedObject> there GUARDED_BY(mu);  // at the new place, by tail (resumed)
  size_t next GUARDED_BY(mu) = 0;                                // the first item whose copy was not begun
  size_t under_way GUARDED_BY(mu) = 0;                           // copies, later batches of deletions
  std::string token GUARDED_BY(mu);
  bool listing GUARDED_BY(mu) = false, paused GUARDED_BY(mu) = false, ended GUARDED_BY(mu) = false;
  std::optional<Error> error GUARDED_BY(mu);
  Mutex dirs_mu;
  std::unordered_map<std::string, uint64_t> dirs GUARDED_BY(dirs_mu);  // "a/b/" -> ino

  void give_reason(const Error& why) EXCLUDES(mu) {
    MutexLock lock(mu);
    if (!error) error = why;
  }
  std::optional<Error> reason() EXCLUDES(mu) {
    MutexLock lock(mu);
    return error;
  }
  void answer(const Status& status) {
    if (auto call = std::exchange(done, nullptr)) call(status);
  }
};

}  // namespace s3cache::core
