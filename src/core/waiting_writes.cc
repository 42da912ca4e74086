#include "core/waiting_writes.h"

#include <utility>

namespace s3cache::core {

bool WaitingWrites::add(WaitingWrite& write) {
  MutexLock lock(mu_);
  const auto bytes = static_cast<int64_t>(write.data.size());
  if (stopped_ || bytes_ + bytes > max_bytes_) return false;
  bytes_ += bytes;
  writes_.push_back(std::move(write));
  count_.store(writes_.size(), std::memory_order_release);
  return true;
}

WaitingWrite* WaitingWrites::front() {
  MutexLock lock(mu_);
  return writes_.empty() || stopped_ ? nullptr : &writes_.front();
}

WaitingWrite WaitingWrites::pop() {
  MutexLock lock(mu_);
  WaitingWrite first = std::move(writes_.front());
  writes_.pop_front();
  bytes_ -= static_cast<int64_t>(first.data.size());
  count_.store(writes_.size(), std::memory_order_release);
  return first;
}

bool WaitingWrites::begin_serving() {
  MutexLock lock(mu_);
  if (stopped_) return false;
  again_ = serving_;
  return !std::exchange(serving_, true);
}

bool WaitingWrites::end_serving() {
  MutexLock lock(mu_);
  if (std::exchange(again_, false) && !stopped_) return false;
  serving_ = false;
  idle_.notify_all();
  return true;
}

std::deque<WaitingWrite> WaitingWrites::stop() {
  MutexLock lock(mu_);
  stopped_ = true;
  while (serving_) idle_.wait(mu_);
  count_.store(0, std::memory_order_release);
  return std::exchange(writes_, {});
}

}  // namespace s3cache::core
