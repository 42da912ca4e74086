#include "base/clock.h"

#include <ctime>

namespace s3cache {

namespace {

int64_t read_clock(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

class RealClock : public Clock {
 public:
  int64_t wall_ns() const override { return read_clock(CLOCK_REALTIME); }
  int64_t mono_ns() const override { return read_clock(CLOCK_MONOTONIC); }
};

}  // namespace

Clock& Clock::real() {
  static RealClock clock;
  return clock;
}

}  // namespace s3cache
