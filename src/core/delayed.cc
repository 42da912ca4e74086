#include "core/delayed.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace s3cache::core {

void Delayed::after(int64_t ms, std::function<void()> job) {
  MutexLock lock(mu_);
  if (stopping_) return;
  jobs_.emplace(std::chrono::steady_clock::now() + std::chrono::milliseconds(ms), std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  wake_.notify_one();
}

void Delayed::hurry() {
  MutexLock lock(mu_);
  const Time now = std::chrono::steady_clock::now();
  std::multimap<Time, std::function<void()>> due;
  for (auto& [when, job] : jobs_) due.emplace(std::min(when, now), std::move(job));
  jobs_.swap(due);
  wake_.notify_one();
}

void Delayed::stop() {
  std::thread thread;
  std::multimap<Time, std::function<void()>> dropped;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    dropped.swap(jobs_);
    thread = std::move(thread_);
    wake_.notify_one();
  }
  if (thread.joinable()) thread.join();
}

void Delayed::run() {
  pthread_setname_np(pthread_self(), "s3c-delayed");
  MutexLock lock(mu_);
  while (!stopping_) {
    if (jobs_.empty()) {
      wake_.wait(mu_);
      continue;
    }
    const auto left = jobs_.begin()->first - std::chrono::steady_clock::now();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left);
    if (ms.count() > 0) {
      (void)wake_.wait_for(mu_, ms);
      continue;
    }
    auto job = std::move(jobs_.begin()->second);
    jobs_.erase(jobs_.begin());
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace s3cache::core
