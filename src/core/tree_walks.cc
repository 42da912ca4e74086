#include "core/tree_walks.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace s3cache::core {

bool TreeWalks::off() const {
  return refused_ || c_.unordered || c_.options.ttl_ms == 0 || c_.options.compat_dir;
}

void TreeWalks::listed(uint64_t dir, bool read) {
  if (dir == meta::kRootIno || off()) return;
  if (read) return count(dir);
  MutexLock lock(mu_);
  if (!listed_.insert(dir).second) return;
  listed_order_.push_back(dir);
  if (listed_order_.size() > kMaxDirs) {
    listed_.erase(listed_order_.front());
    listed_order_.pop_front();
  }
  idle_ = false;
}

void TreeWalks::read(uint64_t dir) {
  if (idle_) return;
  bool was_cold = false;
  std::vector<WalkPtr> walks, dropped;
  {
    MutexLock lock(mu_);
    was_cold = listed_.erase(dir) != 0;
    const int64_t now = c_.now();
    std::erase_if(walks_, [&](const WalkPtr& walk) {
      const bool old = now - walk->used_at_ns() > kRestMs * 1'000'000;
      if (old) dropped.push_back(walk);
      return old;
    });
    walks = walks_;
    idle_ = walks_.empty() && listed_.empty();
  }
  for (const WalkPtr& walk : dropped) walk->stop();
  if (was_cold) count(dir);
  if (walks.empty()) return;
  const auto key = c_.inodes.key_of(dir);
  if (!key.ok()) return;
  for (const WalkPtr& walk : walks) {
    if (walk->covers(*key)) walk->reached(*key);
  }
}

void TreeWalks::count(uint64_t dir) {
  const auto inode = c_.inodes.get(dir);
  if (!inode.ok()) return;
  const int64_t now = c_.clock.mono_ms();
  MutexLock lock(mu_);
  if (runs_.size() >= kMaxDirs && !runs_.contains(inode->parent)) {
    const auto older = [](const auto& a, const auto& b) { return a.second.at_ms < b.second.at_ms; };
    runs_.erase(std::min_element(runs_.begin(), runs_.end(), older));
  }
  Run& run = runs_[inode->parent];
  const bool goes_on = now - run.at_ms <= kRunMs && inode->name > run.last;
  if (!goes_on) run.length = std::min(run.length, 0);
  run.length++;
  run.last = inode->name;
  run.at_ms = now;
}

bool TreeWalks::await(uint64_t dir, std::function<void()> wake) {
  if (dir == meta::kRootIno || off()) return false;
  const auto key = c_.inodes.key_of(dir);
  if (!key.ok()) return false;
  std::vector<WalkPtr> walks;
  {
    MutexLock lock(mu_);
    walks = walks_;
  }
  for (const WalkPtr& walk : walks) {
    if (walk->covers(*key) && walk->await(*key, wake)) return true;
  }
  const WalkPtr begun = begin(dir, *key);
  return begun && begun->await(*key, std::move(wake));
}

TreeWalks::WalkPtr TreeWalks::begin(uint64_t dir, const std::string& key) {
  const auto inode = c_.inodes.get(dir);
  // The name has to leave room for what the listing starts behind.
  if (!inode.ok() || key.size() + 8 > kMaxKey) return nullptr;
  const std::string prefix = key.substr(0, key.size() - inode->name.size() - 1);
  WalkPtr made, dropped;
  {
    MutexLock lock(mu_);
    const auto run = runs_.find(inode->parent);
    const bool walked = run != runs_.end() && run->second.length >= kRun && inode->name > run->second.last &&
                        c_.clock.mono_ms() - run->second.at_ms <= kRunMs;
    if (!walked) return nullptr;
    const auto same = [&](const WalkPtr& w) { return w->top() == inode->parent; };
    auto old = std::find_if(walks_.begin(), walks_.end(), same);
    if (old == walks_.end() && walks_.size() >= kMaxWalks) {
      old = std::min_element(walks_.begin(), walks_.end(), [](const WalkPtr& a, const WalkPtr& b) {
        return a->used_at_ns() < b->used_at_ns();
      });
    }
    if (old != walks_.end()) {
      dropped = std::move(*old);
      walks_.erase(old);
    }
    made = std::make_shared<TreeWalk>(*this, inode->parent, prefix, key);
    walks_.push_back(made);
    idle_ = false;
  }
  if (dropped) dropped->stop();
  return made;
}

void TreeWalks::refused(const Error& why) {
  if (!refused_.exchange(true)) log::info("{}: directories are listed one by one", why.message);
}

void TreeWalks::finished(const TreeWalk* walk, bool to_the_end) {
  MutexLock lock(mu_);
  std::erase_if(walks_, [walk](const WalkPtr& w) { return w.get() == walk; });
  const auto run = runs_.find(walk->top());
  if (!to_the_end && run != runs_.end()) run->second.length = -kPenalty;
}

}  // namespace s3cache::core
