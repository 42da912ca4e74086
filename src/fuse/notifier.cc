#include "fuse/notifier.h"

#include <algorithm>
#include <chrono>

namespace s3cache::fuse {

Notifier::~Notifier() { stop(); }

void Notifier::start(NotifySink* sink, NodeidsOf nodeids_of, PagesDropped pages_dropped) {
  sink_ = sink;
  nodeids_of_ = std::move(nodeids_of);
  pages_dropped_ = std::move(pages_dropped);
  MutexLock lock(mu_);
  running_ = true;
  stop_ = false;
  thread_ = std::thread([this] { run(); });
}

void Notifier::stop() {
  {
    MutexLock lock(mu_);
    if (!running_) return;
    running_ = false;
    stop_ = true;
    cv_.notify_all();
  }
  thread_.join();
}

void Notifier::inode_changed(uint64_t ino) {
  MutexLock lock(mu_);
  if (!running_) return;
  changes_[ino].told = false;
  pending_.store(changes_.size());
  if (queue_.insert(ino).second) cv_.notify_one();
}

void Notifier::entry_removed(uint64_t parent, std::string_view name) {
  MutexLock lock(mu_);
  if (!running_) return;
  if (entries_.emplace(parent, name).second) cv_.notify_one();
}

void Notifier::drop_pages(uint64_t nodeid, uint64_t stamp) {
  MutexLock lock(mu_);
  if (!running_) return;
  uint64_t& queued = pages_[nodeid];
  queued = std::max(queued, stamp);
  cv_.notify_one();
}

void Notifier::drop_attributes(uint64_t nodeid) {
  MutexLock lock(mu_);
  if (!running_) return;
  if (attributes_.insert(nodeid).second) cv_.notify_one();
}

bool Notifier::unsettled(uint64_t ino) {
  if (pending_.load() == 0) return false;
  MutexLock lock(mu_);
  auto it = changes_.find(ino);
  return it != changes_.end() && !it->second.told;
}

void Notifier::told(uint64_t ino) {
  if (pending_.load() == 0) return;
  MutexLock lock(mu_);
  auto it = changes_.find(ino);
  if (it != changes_.end()) it->second.told = true;
}

void Notifier::send_entry() {
  auto entry = entries_.extract(entries_.begin());
  const auto& [parent, name] = entry.value();
  mu_.unlock();
  const bool wait = sink_->directory_waits(parent);
  if (!wait) sink_->invalidate_entry(parent, name);
  mu_.lock();
  if (wait) postponed_.insert(std::move(entry));
}

void Notifier::send_attributes() {
  const uint64_t nodeid = *attributes_.begin();
  attributes_.erase(attributes_.begin());
  mu_.unlock();
  sink_->invalidate_attributes(nodeid);
  mu_.lock();
}

void Notifier::run() {
  constexpr std::chrono::milliseconds kRetry{20};  // a round trip to the server
  MutexLock lock(mu_);
  for (;;) {
    while (!stop_ && queue_.empty() && entries_.empty() && pages_.empty() && attributes_.empty()) {
      if (postponed_.empty()) {
        cv_.wait(mu_);
      } else {
        cv_.wait_for(mu_, kRetry);
        entries_.merge(postponed_);
      }
    }
    if (stop_) break;
    // Names first: a path must lead to the new state before its attributes are asked again.
    if (!entries_.empty()) {
      send_entry();
    } else if (!queue_.empty()) {
      const uint64_t ino = *queue_.begin();
      queue_.erase(queue_.begin());
      lock.unlock();
      for (uint64_t nodeid : nodeids_of_(ino)) sink_->invalidate_attributes(nodeid);
      lock.lock();
      if (!queue_.contains(ino)) changes_.erase(ino);  // else it changed again meanwhile
      pending_.store(changes_.size());
    } else if (!attributes_.empty()) {
      send_attributes();
    } else {
      const auto [nodeid, stamp] = *pages_.begin();
      pages_.erase(pages_.begin());
      lock.unlock();
      sink_->invalidate_pages(nodeid);
      pages_dropped_(nodeid, stamp);
      lock.lock();
    }
  }
  queue_.clear();
  changes_.clear();
  entries_.clear();
  postponed_.clear();
  pages_.clear();
  attributes_.clear();
  pending_.store(0);
}

}  // namespace s3cache::fuse
