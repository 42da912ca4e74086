#include "meta/id_allocator.h"

#include "base/bytes.h"

namespace s3cache::meta {

Result<uint64_t> IdAllocator::next(bool may_wait) {
  MutexLock l(mu_);
  const uint64_t seen = attempts_;
  for (;;) {
    const bool wanted = limit_ - next_ <= kBlock / 2;
    if (wanted && !reserving_) {
      reserving_ = true;
      l.unlock();
      reserve();
      l.lock();
    }
    if (next_ < limit_) return next_++;
    if (attempts_ != seen && !last_.ok()) return last_.error();
    if (!may_wait) return Error{Code::kBusy, "no number reserved yet"};
    if (reserving_) cv_.wait(mu_);
  }
}

// REQUIRES: this thread set reserving_.
void IdAllocator::reserve() {
  uint64_t limit;
  {
    MutexLock l(mu_);
    limit = limit_ + kBlock;
  }
  Batch batch;
  batch.put(Table::kState, std::string(kKey), be64(limit));
  store_.apply(std::move(batch), [this, limit](Status status) { reserved(limit, status); });
}

void IdAllocator::reserved(uint64_t limit, const Status& status) {
  MutexLock l(mu_);
  if (status.ok()) limit_ = limit;
  last_ = status;
  ++attempts_;
  reserving_ = false;
  cv_.notify_all();
}

}  // namespace s3cache::meta
