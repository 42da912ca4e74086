#include "core/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace s3cache::core {

namespace {

constexpr size_t kHugePage = 2 << 20;
static_assert(kHugePage % BufferPool::kUnit == 0);

// Memory of one huge page, if the kernel has one to give: a fault instead of 512, and fewer pages to pin for
// each write to the kernel.
std::byte* map_huge() {
  void* p = mmap(nullptr, 2 * kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(p);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(p) % kHugePage) % kHugePage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + kHugePage, kHugePage - before);
  madvise(begin + before, kHugePage, MADV_HUGEPAGE);
  return begin + before;
}

}  // namespace

BufferPool::BufferPool(int64_t limit_bytes)
    : capacity_(static_cast<size_t>(std::max<int64_t>(8, limit_bytes / kUnit))) {}

BufferPool::~BufferPool() {
  for (std::byte* p : idle_) munmap(p, kUnit);
}

size_t BufferPool::in_use() const {
  MutexLock lock(mu_);
  return in_use_;
}

bool BufferPool::take(size_t count, bool background, std::vector<Unit>& out) {
  {
    MutexLock lock(mu_);
    const size_t usable = background ? capacity_ - capacity_ / 4 : capacity_;
    if (in_use_ + count > usable) {
      refused_ = true;
      return false;
    }
    in_use_ += count;
  }
  return hand_out(count, out);
}

bool BufferPool::take_over_limit(size_t count, std::vector<Unit>& out) {
  {
    MutexLock lock(mu_);
    in_use_ += count;
  }
  return hand_out(count, out);
}

// The units are counted already; what cannot be had is counted off again.
bool BufferPool::hand_out(size_t count, std::vector<Unit>& out) {
  std::vector<std::byte*> got;
  {
    MutexLock lock(mu_);
    while (got.size() < count && !idle_.empty()) {
      got.push_back(idle_.back());
      idle_.pop_back();
    }
    least_idle_ = std::min(least_idle_, idle_.size());
  }
  while (got.size() < count) {
    std::byte* p = map_huge();
    if (p == nullptr) break;
    got.push_back(p);
    MutexLock lock(mu_);
    for (size_t at = BufferPool::kUnit; at < kHugePage; at += BufferPool::kUnit) idle_.push_back(p + at);
    while (got.size() < count && !idle_.empty()) {
      got.push_back(idle_.back());
      idle_.pop_back();
    }
  }
  for (std::byte* p : got) out.emplace_back(p, [this](std::byte* q) { give(q); });
  if (got.size() == count) return true;
  {
    MutexLock lock(mu_);
    in_use_ -= count - got.size();
    refused_ = true;
  }
  out.resize(out.size() - got.size());
  return false;
}

void BufferPool::give(std::byte* data) {
  bool wake = false;
  {
    MutexLock lock(mu_);
    --in_use_;
    idle_.push_back(data);
    wake = refused_;
    refused_ = false;
  }
  if (wake && wake_) wake_();
}

void BufferPool::trim() {
  std::vector<std::byte*> unused;
  {
    MutexLock lock(mu_);
    // The longest unused lie at the front.
    const auto n = static_cast<ptrdiff_t>(least_idle_);
    unused.assign(idle_.begin(), idle_.begin() + n);
    idle_.erase(idle_.begin(), idle_.begin() + n);
    least_idle_ = idle_.size();
  }
  for (std::byte* p : unused) munmap(p, kUnit);
}

}  // namespace s3cache::core
