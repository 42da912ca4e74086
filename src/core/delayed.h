// Delayed: runs functions after a while, on one thread of its own: gathering times, back-off.
//
// Real time, not Clock: nothing that depends on it is a promise. Threads: any; functions run one at a time on
// the thread, in the order of their times, and must not block. stop() drops what is left and joins. Units:
// ms.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "base/sync.h"

namespace s3cache::core {

class Delayed {
 public:
  Delayed() = default;
  ~Delayed() { stop(); }

  void after(int64_t ms, std::function<void()> job) EXCLUDES(mu_);
  // Everything that waits is due now, in its order.
  void hurry() EXCLUDES(mu_);
  void stop() EXCLUDES(mu_);

 private:
  using Time = std::chrono::steady_clock::time_point;
  void run() EXCLUDES(mu_);

  Mutex mu_;
  CondVar wake_;
  std::multimap<Time, std::function<void()>> jobs_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_ GUARDED_BY(mu_);  // begun with the first job
};

}  // namespace s3cache::core
