#include "s3/retry.h"

#include <algorithm>
#include <random>

namespace s3cache::s3 {

int64_t RetryPolicy::bound_ms(int failures) const {
  const int shift = std::clamp(failures - 1, 0, 20);
  return std::min(kMaxDelayMs, base_ms_ << shift);
}

int64_t RetryPolicy::delay_ms(int failures) const {
  thread_local std::minstd_rand rng{std::random_device{}()};
  return std::uniform_int_distribution<int64_t>(0, bound_ms(failures))(rng);
}

int64_t RetryPolicy::delay_ms(int failures, int64_t retry_after_s) const {
  const int64_t wish_ms = std::clamp<int64_t>(retry_after_s, 0, kMaxDelayMs / 1000) * 1000;
  return std::min(kMaxDelayMs, wish_ms + delay_ms(failures));
}

bool ParallelLimit::on_success() {
  if (limit() >= max_) return false;
  MutexLock l(mu_);
  const int now = limit();
  if (++successes_ < now || now >= max_) return false;
  successes_ = 0;
  limit_.store(now + 1, std::memory_order_relaxed);
  return true;
}

bool ParallelLimit::on_slow_down() {
  MutexLock l(mu_);
  const int64_t now_ms = clock_.mono_ms();
  successes_ = 0;
  if (now_ms - last_decrease_ms_ < 1000) return false;
  last_decrease_ms_ = now_ms;
  const int now = limit();
  const int next = std::min(now, std::max(kFloor, now * 7 / 10));
  limit_.store(next, std::memory_order_relaxed);
  return next != now;
}

}  // namespace s3cache::s3
