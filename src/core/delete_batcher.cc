#include "core/delete_batcher.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>

namespace s3cache::core {

namespace {
int64_t steady_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}
}  // namespace

void DeleteBatcher::add(s3::DeleteItem item, uint64_t dir, Done done) {
  bool start_timer = false, full = false;
  {
    MutexLock lock(mu_);
    last_ms_ = steady_ms();
    if (gathered_.empty()) first_ms_ = last_ms_;
    gathered_.push_back({std::move(item), dir, std::move(done)});
    full = gathered_.size() >= kMaxKeys;
    due_ |= full;
    start_timer = !std::exchange(timed_, true);
  }
  if (full) pump();
  if (start_timer) wait(quiet_ms_);
}

void DeleteBatcher::wait(int64_t ms) {
  delayed_.after(ms, [this] { on_time(); });
}

void DeleteBatcher::on_time() {
  int64_t left = 0;
  {
    MutexLock lock(mu_);
    if (gathered_.empty()) {
      timed_ = false;
      return;
    }
    const int64_t now = steady_ms();
    const int64_t quiet = announced_ > 0 ? now + quiet_ms_ : last_ms_ + quiet_ms_;
    left = std::min(quiet, first_ms_ + kLongest * quiet_ms_) - now;
    if (left <= 0) {
      timed_ = false;
      due_ = true;
    }
  }
  if (left > 0) return wait(left);
  pump();
}

void DeleteBatcher::announce() {
  MutexLock lock(mu_);
  announced_++;
}

void DeleteBatcher::announced_came() {
  MutexLock lock(mu_);
  announced_--;
  last_ms_ = steady_ms();
}

void DeleteBatcher::flush() {
  {
    MutexLock lock(mu_);
    if (gathered_.empty()) return;
    due_ = true;
  }
  pump();
}

void DeleteBatcher::pump() {
  for (;;) {
    auto items = std::make_shared<std::vector<Item>>();
    {
      MutexLock lock(mu_);
      if (!due_ || gathered_.empty() || under_way_ == kMaxBatches) return;
      const size_t n = std::min(gathered_.size(), kMaxKeys);
      const auto end = gathered_.begin() + static_cast<ptrdiff_t>(n);
      items->assign(std::make_move_iterator(gathered_.begin()), std::make_move_iterator(end));
      gathered_.erase(gathered_.begin(), end);
      due_ = !gathered_.empty();
      under_way_++;
    }
    std::set<uint64_t> dirs;
    for (const Item& item : *items) dirs.insert(item.dir);
    send(items);
    sent_({dirs.begin(), dirs.end()});
  }
}

void DeleteBatcher::send(const Items& items) {
  if (items->size() == 1) {
    s3_.remove(items->front().item, [this, items](const Status& s) {
      if (s.ok()) return ended(items, std::vector<s3::DeleteFailure>());
      ended(items, s.error());
    });
    return;
  }
  std::vector<s3::DeleteItem> keys;
  keys.reserve(items->size());
  for (const Item& item : *items) keys.push_back(item.item);
  s3_.remove_many(std::move(keys), [this, items](const Result<std::vector<s3::DeleteFailure>>& result) {
    ended(items, result);
  });
}

void DeleteBatcher::ended(const Items& items, const Result<std::vector<s3::DeleteFailure>>& result) {
  std::map<std::string, Error> failed;
  if (result.ok()) {
    for (const s3::DeleteFailure& failure : *result) failed.emplace(failure.key, failure.error);
  }
  for (const Item& item : *items) {
    const auto it = failed.find(item.item.key);
    if (!result.ok()) {
      item.done(result.error());
    } else {
      item.done(it == failed.end() ? Status() : Status(it->second));
    }
  }
  {
    MutexLock lock(mu_);
    under_way_--;
  }
  pump();
}

}  // namespace s3cache::core
