#include "core/pins.h"

#include <utility>

#include "core/inodes.h"

namespace s3cache::core {

Status Pins::add(uint64_t dir) {
  MutexLock lock(mu_);
  if (const auto path = inodes_.key_of(dir); !path.ok()) return path.error();
  counts_[dir]++;
  return {};
}

void Pins::drop(uint64_t dir) {
  MutexLock lock(mu_);
  const auto it = counts_.find(dir);
  if (it != counts_.end() && --it->second == 0) counts_.erase(it);
}

bool Pins::below(uint64_t dir) {
  MutexLock lock(mu_);
  return below_locked(dir);
}

bool Pins::below_locked(uint64_t dir) {
  for (const auto& [pinned, count] : counts_) {
    if (inodes_.is_below(pinned, dir)) return true;
  }
  return false;
}

bool Pins::remove_unless_pinned(uint64_t dir, meta::Batch batch) {
  MutexLock lock(mu_);
  if (below_locked(dir)) return false;
  inodes_.remove(dir, std::move(batch));
  return true;
}

}  // namespace s3cache::core
