// When to try again, how long to wait, and how many requests at a time a struggling server gets.
//
// Threads: RetryPolicy is immutable; ParallelLimit may be used from any thread.
// Units: milliseconds in the names.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "base/sync.h"

namespace s3cache::s3 {

// Full-jitter exponential back-off: uniform in [0, min(20 s, base * 2^n)], so that clients that failed
// together do not come back together.
class RetryPolicy {
 public:
  static constexpr int64_t kMaxDelayMs = 20'000;

  RetryPolicy(int attempts, int64_t base_ms) : attempts_(attempts < 1 ? 1 : attempts), base_ms_(base_ms) {}

  int attempts() const { return attempts_; }
  // Bound of the delay after the n-th failure, n from 1.
  int64_t bound_ms(int failures) const;
  int64_t delay_ms(int failures) const;
  // With the wish of the server (Retry-After), which counts up to kMaxDelayMs.
  int64_t delay_ms(int failures, int64_t retry_after_s) const;

 private:
  const int attempts_;
  const int64_t base_ms_;
};

// Additive increase, multiplicative decrease of the number of parallel requests: x0.7 on SlowDown (at most
// once a second, since one overload fails many requests), +1 after as many successes as are allowed in
// parallel.
class ParallelLimit {
 public:
  static constexpr int kFloor = 4;

  ParallelLimit(int max, const Clock& clock) : max_(max), clock_(clock), limit_(max) {}

  int limit() const { return limit_.load(std::memory_order_relaxed); }
  // Both give true when the limit moved.
  bool on_success();
  bool on_slow_down();

 private:
  const int max_;
  const Clock& clock_;
  std::atomic<int> limit_;
  Mutex mu_;
  int successes_ GUARDED_BY(mu_) = 0;
  int64_t last_decrease_ms_ GUARDED_BY(mu_) = INT64_MIN / 2;
};

}  // namespace s3cache::s3
