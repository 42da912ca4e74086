// Clock: the seam for time, so that tests move it by hand.
//
// wall_ns() is UNIX time and may jump (TTLs that must survive a remount use it); mono_ns() never goes back
// (ages, deadlines inside one process). Units: nanoseconds. Threads: every method from any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace s3cache {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t wall_ns() const = 0;
  virtual int64_t mono_ns() const = 0;

  int64_t wall_s() const { return wall_ns() / 1'000'000'000; }
  int64_t mono_ms() const { return mono_ns() / 1'000'000; }

  // The process's real clock; lives for ever.
  static Clock& real();
};

class FakeClock : public Clock {
 public:
  explicit FakeClock(int64_t start_ns = 1'700'000'000'000'000'000) : now_(start_ns) {}
  int64_t wall_ns() const override { return now_.load(); }
  int64_t mono_ns() const override { return now_.load(); }
  void advance_ms(int64_t ms) { now_.fetch_add(ms * 1'000'000); }
  void advance_s(int64_t s) { advance_ms(s * 1000); }

 private:
  std::atomic<int64_t> now_;
};

}  // namespace s3cache
