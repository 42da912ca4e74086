#include "core/janitor.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace s3cache::core {

namespace {
constexpr int64_t kLongest = 60'000;

int64_t now_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}
}  // namespace

Janitor::Janitor(std::vector<Task> tasks) : tasks_(std::move(tasks)), thread_([this] { run(); }) {}

Janitor::~Janitor() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

void Janitor::run() {
  std::vector<int64_t> due(tasks_.size(), 0);
  MutexLock lock(mu_);
  while (!stopping_) {
    lock.unlock();
    int64_t next = now_ms() + kLongest;
    for (size_t i = 0; i < tasks_.size(); i++) {
      if (due[i] <= now_ms()) due[i] = now_ms() + std::clamp<int64_t>(tasks_[i](), 1, kLongest);
      next = std::min(next, due[i]);
    }
    lock.lock();
    const int64_t wait = std::max<int64_t>(next - now_ms(), 1);
    if (!stopping_) wake_.wait_for(mu_, std::chrono::milliseconds(wait));
  }
}

}  // namespace s3cache::core
