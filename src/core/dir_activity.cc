#include "core/dir_activity.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace s3cache::core {

namespace {
size_t hash_of(std::string_view name) { return std::hash<std::string_view>()(name); }
}  // namespace

DirActivity::Dir& DirActivity::dir(uint64_t ino) {
  if (dirs_.size() >= kMaxDirs && !dirs_.contains(ino)) {
    const auto older = [](const auto& a, const auto& b) { return a.second.used < b.second.used; };
    dirs_.erase(std::min_element(dirs_.begin(), dirs_.end(), older));
  }
  Dir& d = dirs_[ino];
  d.used = ++tick_;
  count_.store(dirs_.size(), std::memory_order_relaxed);
  return d;
}

bool DirActivity::arrive(uint64_t ino, uint32_t tid, std::string_view name) {
  MutexLock lock(mu_);
  const auto it = dirs_.find(ino);
  if (it == dirs_.end()) return false;
  Dir& d = it->second;
  d.used = ++tick_;
  const auto last = d.last_asked.find(tid);
  if (last != d.last_asked.end() && last->second != hash_of(name)) {
    d.walking = true;
    d.last_asked.erase(last);
  }
  return d.walking;
}

void DirActivity::asked(uint64_t ino, uint32_t tid, std::string_view name) {
  MutexLock lock(mu_);
  Dir& d = dir(ino);
  if (d.last_asked.size() >= kMaxThreads) d.last_asked.clear();
  d.last_asked[tid] = hash_of(name);
}

void DirActivity::removed(uint64_t ino, std::string_view name) {
  MutexLock lock(mu_);
  const auto it = dirs_.find(ino);
  if (it == dirs_.end()) return;
  for (const auto& [tid, asked] : it->second.last_asked)
    if (asked == hash_of(name)) removing_.store(tid, std::memory_order_relaxed);
}

void DirActivity::wants_attributes(uint32_t tid) {
  if (removing(tid)) removing_.store(0, std::memory_order_relaxed);
}

bool DirActivity::opened(uint64_t ino, uint32_t tid) {
  wants_attributes(tid);
  MutexLock lock(mu_);
  const auto it = dirs_.find(ino);
  if (it == dirs_.end()) return false;
  it->second.last_asked.erase(tid);
  return std::exchange(it->second.walking, false);
}

bool DirActivity::cold(uint64_t ino) {
  MutexLock lock(mu_);
  return ++dir(ino).cold % kColdLimit == 0;
}

}  // namespace s3cache::core
