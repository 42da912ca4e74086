#include "cache/budget.h"

#include <algorithm>

namespace s3cache::cache {

namespace {
constexpr int64_t kStatIntervalMs = 100;
}

Budget::Budget(CacheDir& dir, Clock& clock, BudgetOptions options)
    : dir_(dir), clock_(clock), options_(options) {}

int64_t Budget::limit_shortfall(int64_t bytes) const {
  if (options_.limit <= 0) return 0;
  return std::max<int64_t>(0, used_ + reserved_ + bytes - options_.limit);
}

int64_t Budget::floor_shortfall(int64_t bytes) const {
  if (options_.min_free <= 0) return 0;
  bool ask = false;
  int64_t net = 0;
  {
    MutexLock lock(mu_);
    const int64_t now = clock_.mono_ms();
    if (now >= next_stat_ms_) {
      ask = true;
      next_stat_ms_ = now + kStatIntervalMs;  // the others go on with the old answer meanwhile
      net = net_written_;
    }
  }
  if (ask) {
    const auto space = dir_.space();
    MutexLock lock(mu_);
    if (space.ok()) {
      free_ = space->free;
      net_at_stat_ = net;
    }
  }
  MutexLock lock(mu_);
  if (free_ < 0) return 0;
  const int64_t free_now = free_ - (net_written_ - net_at_stat_) - reserved_;
  return std::max<int64_t>(0, options_.min_free + bytes - free_now);
}

bool Budget::reserve(int64_t bytes) {
  // The floor first and without the lock across statvfs: it may be overdrawn by readers that ask at the same
  // moment, by one request each, and says so at the next. The limit is decided under the lock: it is hard.
  if (floor_shortfall(bytes) > 0) return false;
  MutexLock lock(mu_);
  if (limit_shortfall(bytes) > 0) return false;
  reserved_ += bytes;
  return true;
}

void Budget::release(int64_t bytes) {
  MutexLock lock(mu_);
  reserved_ -= bytes;
}

void Budget::commit(int64_t bytes) {
  MutexLock lock(mu_);
  reserved_ -= bytes;
  used_ += bytes;
  net_written_ += bytes;
}

void Budget::freed(int64_t bytes) {
  MutexLock lock(mu_);
  used_ -= bytes;
  net_written_ -= bytes;
}

void Budget::add_used(int64_t bytes) {
  MutexLock lock(mu_);
  used_ += bytes;
}

int64_t Budget::used() const {
  MutexLock lock(mu_);
  return used_;
}

int64_t Budget::reserved() const {
  MutexLock lock(mu_);
  return reserved_;
}

int64_t Budget::limit() const { return options_.limit; }

int64_t Budget::reach() const {
  (void)floor_shortfall(0);  // asks the file system, if it is time
  MutexLock lock(mu_);
  int64_t reach = options_.limit > 0 ? options_.limit : INT64_MAX;
  if (options_.min_free > 0 && free_ >= 0) {
    const int64_t left = free_ - (net_written_ - net_at_stat_) - reserved_ - options_.min_free;
    reach = std::min(reach, used_ + reserved_ + std::max<int64_t>(0, left));
  }
  return reach;
}

int64_t Budget::shortfall(int64_t bytes) const {
  const int64_t floor = floor_shortfall(bytes);
  MutexLock lock(mu_);
  return std::max(floor, limit_shortfall(bytes));
}

}  // namespace s3cache::cache
