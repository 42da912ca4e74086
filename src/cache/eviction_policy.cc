#include "cache/eviction_policy.h"

#include <algorithm>

namespace s3cache::cache {

namespace {

// All shares are of the capacity in bytes; tests/bench/cache_sim.cc has the table that decided the figures.
//
// An entry is stale past this many mean reuse intervals. In random epochs no interval exceeds 2 means, so
// at 2.2 nothing that is in use goes; at 1.5 the third epoch falls from 0.50 to 0.40, and 3 only adapts
// later.
constexpr double kStaleMeans = 2.2;
constexpr int64_t kAverageOver = 256;
// Never-seen bytes that mean a new data set. 0.1 adapts faster (cache of 90 %: 0.90 in the second epoch, not
// 0.77), but a single look through a folder of a tenth of the cache would then cost cached data; 0.5 gives
// 0.43.
constexpr double kNewSetShare = 0.25;
// The run is capped just above that, so that the first hits of the second epoch close the door again (0.27 ->
// 0.50).
constexpr double kNewSetCap = 0.27;
// A seen byte takes back this many never-seen ones: a new set that shares 20 % with the old one is still
// recognised (0.40 from its second epoch; with 4: 0.10), half hot and half scan is not.
constexpr int64_t kSeenWeight = 2;
// Entries never used again go first while they hold more than a tenth, as in S3-FIFO's small queue ...
constexpr double kFreshShare = 0.1;
// ... unless the oldest used one was idle for 16 times longer (a hot set that moved: 0.61, without 0.56).
constexpr double kForgottenFactor = 16;
constexpr int64_t kTicksPerCapacity = 1024;
constexpr int64_t kTickUnlimited = 64 << 20;
constexpr size_t kMinGhosts = 65'536;
constexpr size_t kGhostsPerEntry = 4;

}  // namespace

EvictionPolicy::EvictionPolicy(int64_t capacity_bytes)
    : capacity_(capacity_bytes),
      tick_(capacity_bytes > 0 ? std::max<int64_t>(1, capacity_bytes / kTicksPerCapacity) : kTickUnlimited),
      restored_to_(-std::max<int64_t>(capacity_bytes, 0)) {
  ghosts_.grow(kMinGhosts);
}

int64_t EvictionPolicy::capacity() const {
  return capacity_ > 0 ? capacity_ : std::max(total_, kTickUnlimited);
}

void EvictionPolicy::seen_again(int64_t interval, int64_t bytes) {
  samples_ = std::min(samples_ + 1, kAverageOver);
  mean_interval_ += (static_cast<double>(interval) - mean_interval_) / static_cast<double>(samples_);
  unseen_run_ = std::max<int64_t>(0, unseen_run_ - kSeenWeight * bytes);
}

void EvictionPolicy::never_seen(int64_t bytes) {
  const auto cap = static_cast<int64_t>(kNewSetCap * static_cast<double>(capacity()));
  // One huge file is not a new data set.
  unseen_run_ = std::min(cap, unseen_run_ + std::min(bytes, capacity() / 8));
}

void EvictionPolicy::enlist(Entry& e) {
  Queue& q = queues_[e.reused][tick(e.time)];
  e.older = q.newest;
  e.newer = nullptr;
  (q.newest ? q.newest->newer : q.oldest) = &e;
  q.newest = &e;
  e.listed = true;
  listed_bytes_ += e.bytes;
}

void EvictionPolicy::delist(Entry& e) {
  if (!e.listed) return;
  auto& queues = queues_[e.reused];
  const auto it = queues.find(tick(e.time));
  (e.older ? e.older->newer : it->second.oldest) = e.newer;
  (e.newer ? e.newer->older : it->second.newest) = e.older;
  if (it->second.oldest == nullptr) queues.erase(it);
  e.listed = false;
  listed_bytes_ -= e.bytes;
}

void EvictionPolicy::accessed(uint64_t fid, uint64_t key, int64_t bytes) {
  MutexLock lock(mu_);
  bytes = std::clamp<int64_t>(bytes, 1, capacity());
  clock_ += bytes;
  if (const auto it = entries_.find(fid); it != entries_.end()) {
    Entry& e = it->second;
    seen_again(clock_ - e.time, bytes);
    delist(e);
    if (!e.reused) fresh_bytes_ -= e.bytes;
    e.reused = true;
    e.time = clock_;
    if (!held_.contains(fid)) enlist(e);
    return;
  }
  const int64_t now = tick(clock_);
  if (const auto ticks = ghosts_.age(key, now)) {
    seen_again(*ticks * tick_, bytes);
  } else {
    never_seen(bytes);
  }
  ghosts_.put(key, now);
}

EvictionPolicy::Entry* EvictionPolicy::oldest_of(bool reused) const {
  const auto& queues = queues_[reused];
  return queues.empty() ? nullptr : queues.begin()->second.oldest;
}

EvictionPolicy::Entry* EvictionPolicy::pick(bool unconditional) const {
  Entry* const fresh = oldest_of(false);
  Entry* const reused = oldest_of(true);
  Entry* const oldest = !fresh || (reused && reused->time < fresh->time) ? reused : fresh;
  if (!oldest || unconditional) return oldest;
  if (static_cast<double>(unseen_run_) > kNewSetShare * static_cast<double>(capacity())) return oldest;
  const auto age = [now = clock_](const Entry* e) { return static_cast<double>(now - e->time); };
  if (samples_ == 0 || age(oldest) <= kStaleMeans * mean_interval_) return nullptr;
  if (!fresh || !reused || age(reused) > kForgottenFactor * age(fresh)) return oldest;
  return static_cast<double>(fresh_bytes_) > kFreshShare * static_cast<double>(capacity()) ? fresh : reused;
}

bool EvictionPolicy::claim(int64_t bytes, bool unconditional, std::vector<uint64_t>& victims) {
  while (bytes > 0) {
    Entry* e = pick(unconditional);
    if (!e) break;
    delist(*e);
    victims.push_back(e->fid);
    bytes -= e->bytes;
  }
  return bytes <= 0;
}

EvictionPolicy::Admission EvictionPolicy::admit(uint64_t /*key*/, int64_t /*bytes*/,
                                                int64_t shortfall_bytes) {
  MutexLock lock(mu_);
  Admission out;
  out.admit = claim(shortfall_bytes, false, out.victims);
  if (out.admit) return out;
  for (auto fid = out.victims.rbegin(); fid != out.victims.rend(); ++fid) enlist(entries_.at(*fid));
  out.victims.clear();
  return out;
}

std::vector<uint64_t> EvictionPolicy::oldest(int64_t bytes) {
  MutexLock lock(mu_);
  std::vector<uint64_t> victims;
  claim(bytes, true, victims);
  return victims;
}

bool EvictionPolicy::claim(uint64_t fid) {
  MutexLock lock(mu_);
  const auto it = entries_.find(fid);
  if (it == entries_.end() || !it->second.listed) return false;
  delist(it->second);
  return true;
}

void EvictionPolicy::add(uint64_t fid, uint64_t key, int64_t bytes, int64_t time) {
  Entry& e = entries_[fid];
  e.fid = fid;
  e.key = key;
  e.bytes = bytes;
  e.time = time;
  total_ += bytes;
  fresh_bytes_ += bytes;
  if (!held_.contains(fid)) enlist(e);
  if (entries_.size() * kGhostsPerEntry > ghosts_.slots()) ghosts_.grow(entries_.size() * kGhostsPerEntry);
}

void EvictionPolicy::set_bytes(Entry& e, int64_t bytes) {
  total_ += bytes - e.bytes;
  if (!e.reused) fresh_bytes_ += bytes - e.bytes;
  if (e.listed) listed_bytes_ += bytes - e.bytes;
  e.bytes = bytes;
}

void EvictionPolicy::inserted(uint64_t fid, uint64_t key, int64_t bytes) {
  MutexLock lock(mu_);
  const auto it = entries_.find(fid);
  if (it == entries_.end()) {
    add(fid, key, bytes, clock_);
    return;
  }
  set_bytes(it->second, bytes);
}

void EvictionPolicy::resized(uint64_t fid, int64_t bytes) {
  MutexLock lock(mu_);
  if (const auto it = entries_.find(fid); it != entries_.end()) set_bytes(it->second, bytes);
}

void EvictionPolicy::grown(uint64_t fid, uint64_t key, int64_t by) {
  MutexLock lock(mu_);
  const auto it = entries_.find(fid);
  if (it == entries_.end()) return add(fid, key, by, clock_);
  set_bytes(it->second, it->second.bytes + by);
}

int64_t EvictionPolicy::removed(uint64_t fid) {
  MutexLock lock(mu_);
  held_.erase(fid);
  const auto it = entries_.find(fid);
  if (it == entries_.end()) return 0;
  const int64_t bytes = it->second.bytes;
  delist(it->second);
  set_bytes(it->second, 0);
  ghosts_.put(it->second.key, tick(it->second.time));
  entries_.erase(it);
  return bytes;
}

void EvictionPolicy::set_evictable(uint64_t fid, bool evictable) {
  MutexLock lock(mu_);
  const auto it = entries_.find(fid);
  if (evictable) {
    held_.erase(fid);
    if (it != entries_.end() && !it->second.listed) enlist(it->second);
    return;
  }
  held_.insert(fid);
  if (it != entries_.end()) delist(it->second);
}

bool EvictionPolicy::restore(uint64_t fid, uint64_t key, int64_t bytes) {
  MutexLock lock(mu_);
  if (entries_.contains(fid)) return false;
  // Ages within one capacity: what is known is the order. Nothing that this mount touched is older.
  restored_to_ = std::min<int64_t>(0, restored_to_ + bytes);
  add(fid, key, bytes, restored_to_);
  return true;
}

int64_t EvictionPolicy::evictable_bytes() const {
  MutexLock lock(mu_);
  return listed_bytes_;
}

size_t EvictionPolicy::entries() const {
  MutexLock lock(mu_);
  return entries_.size();
}

}  // namespace s3cache::cache
