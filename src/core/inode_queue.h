// InodeQueue: changes of one inode run one after another, those of different inodes side by side.
//
// An asynchronous mutex by ino. run() starts the job at once when nothing of that inode is under way, on the
// caller's thread, else when its turn comes, on the thread that ended the job before it. A job ends when its
// Turn is destroyed. Threads: any; no lock is held while a job runs. Errors: none. A job must not wait for
// another turn of the same inode.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>

#include "base/sync.h"

namespace s3cache::core {

class InodeQueue {
 public:
  using Turn = std::shared_ptr<void>;  // the job's place; released with the last copy
  using Job = std::function<void(Turn)>;

  void run(uint64_t ino, Job job) EXCLUDES(mu_);
  bool busy(uint64_t ino) EXCLUDES(mu_);

 private:
  Turn turn_of(uint64_t ino);
  void next(uint64_t ino) EXCLUDES(mu_);

  Mutex mu_;
  std::unordered_map<uint64_t, std::deque<Job>> waiting_ GUARDED_BY(mu_);  // an entry: somebody has the turn
};

}  // namespace s3cache::core
