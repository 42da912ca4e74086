// WorkerPool: a few threads that run queued jobs in order of arrival: the disk pool (pwrite, unlink, punch).
//
// The queue is bounded by what its producers hold (buffer units), not by itself. Threads: post() from any.
// stop() runs what is queued, then joins; the destructor calls it.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/sync.h"

namespace s3cache::core {

class WorkerPool {
 public:
  WorkerPool(int threads, const char* name);  // name: at most 15 bytes, shown by ps -L
  ~WorkerPool();

  // After stop() the job runs on the caller's thread.
  void post(std::function<void()> job);
  // Waits until everything posted before has run.
  void drain();
  void stop();

 private:
  void run();

  Mutex mu_;
  CondVar work_, idle_;
  std::deque<std::function<void()>> jobs_ GUARDED_BY(mu_);
  size_t running_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace s3cache::core
