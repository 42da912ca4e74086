#include "fuse/kill_watch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/unique_fd.h"
#include "fuse/request.h"

namespace s3cache::fuse {

bool KillWatch::dying(uint32_t tid) {
  if (tid == 0) return false;  // of another pid namespace: nothing is known
  const UniqueFd fd(::open(fmt::format("/proc/{}/status", tid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return true;
  char text[4096];
  const ssize_t n = ::read(fd.get(), text, sizeof text - 1);
  if (n <= 0) return true;
  text[n] = 0;
  const char* pending = std::strstr(text, "\nSigPnd:");
  if (pending == nullptr) return false;
  return (std::strtoull(pending + 8, nullptr, 16) >> (SIGKILL - 1) & 1) != 0;
}

KillWatch::~KillWatch() { stop(); }

void KillWatch::add(std::weak_ptr<Request> request) {
  std::thread ended;
  MutexLock lock(mu_);
  if (stop_) return;
  watched_.push_back(std::move(request));
  if (running_) return;
  running_ = true;
  std::swap(ended, thread_);
  lock.unlock();
  if (ended.joinable()) ended.join();  // it has left run() but for its return
  lock.lock();
  thread_ = std::thread([this] { run(); });
}

void KillWatch::run() {
  MutexLock lock(mu_);
  while (!stop_ && !watched_.empty()) {
    std::vector<std::weak_ptr<Request>> round, left;
    round.swap(watched_);
    in_round_ = round.size();
    lock.unlock();
    for (auto& weak : round) {
      auto request = weak.lock();
      if (request != nullptr && !request->give_up()) left.push_back(std::move(weak));
    }
    lock.lock();
    in_round_ = 0;
    watched_.insert(watched_.end(), left.begin(), left.end());
    if (!watched_.empty() && !stop_) cv_.wait_for(mu_, std::chrono::milliseconds(100));
  }
  running_ = false;
}

size_t KillWatch::size() {
  MutexLock lock(mu_);
  return watched_.size() + in_round_;
}

void KillWatch::stop() {
  std::thread ended;
  {
    MutexLock lock(mu_);
    stop_ = true;
    watched_.clear();
    cv_.notify_all();
    std::swap(ended, thread_);
  }
  if (ended.joinable()) ended.join();
}

}  // namespace s3cache::fuse
