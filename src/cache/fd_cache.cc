#include "cache/fd_cache.h"

namespace s3cache::cache {

namespace {

// Only the cache itself holds it. True stays true while the lock is held: a new share is made under the lock
// only.
bool is_idle(const std::shared_ptr<UniqueFd>& fd) { return fd.use_count() == 1; }

bool out_of_descriptors(const Error& e) {
  // Result carries no errno: an open() that fails for want of descriptors is kIo ("Too many open files").
  // Giving idle descriptors back and trying once more is right for any kIo: it costs a few reopens on an
  // already failing disk.
  return e.code == Code::kIo;
}

}  // namespace

FdCache::FdCache(size_t limit) : limit_(limit) {}

Result<std::shared_ptr<UniqueFd>> FdCache::acquire(uint64_t fid, const Open& open) {
  uint64_t forgets;
  {
    MutexLock lock(mu_);
    if (auto it = index_.find(fid); it != index_.end()) {
      lru_.splice(lru_.begin(), lru_, it->second);
      return it->second->fd;
    }
    forgets = forgets_;
  }
  // Without the lock: an open on a slow disk must not hold up readers of other files.
  Result<UniqueFd> opened = open();
  if (!opened.ok() && out_of_descriptors(opened.error()) && close_idle(0) > 0) opened = open();
  if (!opened.ok()) return opened.error();
  auto fd = std::make_shared<UniqueFd>(std::move(*opened));

  std::list<Entry> closing;  // declared before the lock: descriptors close after it is released
  MutexLock lock(mu_);
  // Forgotten meanwhile: the descriptor may be of the unlinked file; it serves this caller and is not kept.
  if (forgets_ != forgets) return fd;
  if (auto it = index_.find(fid); it != index_.end()) {
    lru_.splice(lru_.begin(), lru_, it->second);
    return it->second->fd;  // another thread was faster; ours closes
  }
  lru_.push_front({fid, fd});
  index_[fid] = lru_.begin();
  trim(limit_, closing);
  return fd;
}

void FdCache::trim(size_t limit, std::list<Entry>& closing) {
  for (auto it = lru_.end(); lru_.size() > limit && it != lru_.begin();) {
    --it;
    if (!is_idle(it->fd)) continue;
    auto victim = it++;
    index_.erase(victim->fid);
    closing.splice(closing.begin(), lru_, victim);
  }
}

size_t FdCache::close_idle(size_t limit) {
  std::list<Entry> closing;
  {
    MutexLock lock(mu_);
    trim(limit, closing);
  }
  return closing.size();
}

void FdCache::forget(uint64_t fid) {
  std::shared_ptr<UniqueFd> closing;
  MutexLock lock(mu_);
  forgets_++;
  auto it = index_.find(fid);
  if (it == index_.end()) return;
  closing = std::move(it->second->fd);
  lru_.erase(it->second);
  index_.erase(it);
}

void FdCache::set_limit(size_t limit) {
  {
    MutexLock lock(mu_);
    limit_ = limit;
  }
  close_idle(limit);
}

size_t FdCache::idle() const {
  MutexLock lock(mu_);
  size_t n = 0;
  for (const Entry& e : lru_) n += is_idle(e.fd) ? 1 : 0;
  return n;
}

}  // namespace s3cache::cache
