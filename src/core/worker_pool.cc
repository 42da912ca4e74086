#include "core/worker_pool.h"

#include <pthread.h>

#include <utility>

namespace s3cache::core {

WorkerPool::WorkerPool(int threads, const char* name) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { run(); });
    pthread_setname_np(threads_.back().native_handle(), name);
  }
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::post(std::function<void()> job) {
  MutexLock lock(mu_);
  const bool taken = !stopping_;
  if (taken) jobs_.push_back(std::move(job));
  lock.unlock();
  // Without the lock: who wakes up under it goes to sleep again at once (three futex calls instead of one).
  if (taken) {
    work_.notify_one();
  } else {
    job();
  }
}

void WorkerPool::drain() {
  MutexLock lock(mu_);
  while (!jobs_.empty() || running_ > 0) idle_.wait(mu_);
}

void WorkerPool::stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    work_.notify_all();
  }
  for (auto& t : threads_)
    if (t.joinable()) t.join();
}

void WorkerPool::run() {
  MutexLock lock(mu_);
  for (;;) {
    while (jobs_.empty() && !stopping_) work_.wait(mu_);
    if (jobs_.empty()) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    ++running_;
    lock.unlock();
    job();
    job = nullptr;  // its captures die here, not under the lock
    lock.lock();
    --running_;
    if (jobs_.empty() && running_ == 0) idle_.notify_all();
  }
}

}  // namespace s3cache::core
