#include "core/inode_queue.h"

#include <utility>

namespace s3cache::core {

InodeQueue::Turn InodeQueue::turn_of(uint64_t ino) {
  return Turn(nullptr, [this, ino](void*) { next(ino); });
}

void InodeQueue::run(uint64_t ino, Job job) {
  {
    MutexLock lock(mu_);
    const auto [it, first] = waiting_.try_emplace(ino);
    if (!first) {
      it->second.push_back(std::move(job));
      return;
    }
  }
  job(turn_of(ino));
}

bool InodeQueue::busy(uint64_t ino) {
  MutexLock lock(mu_);
  return waiting_.contains(ino);
}

void InodeQueue::next(uint64_t ino) {
  Job job;
  {
    MutexLock lock(mu_);
    const auto it = waiting_.find(ino);
    if (it->second.empty()) {
      waiting_.erase(it);
      return;
    }
    job = std::move(it->second.front());
    it->second.pop_front();
  }
  job(turn_of(ino));
}

}  // namespace s3cache::core
