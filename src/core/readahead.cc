#include "core/readahead.h"

#include <algorithm>

namespace s3cache::core {

namespace {

constexpr int64_t kPage = cache::kPage;
// Fetches of streams begin and end on checksum blocks, so that each block arrives in one piece.
constexpr int64_t kBlock = 64 << 10;
constexpr int64_t kFirstWindow = 1 << 20;
constexpr int64_t kBackward = 1 << 20;
// Below this the window grows fourfold: six doublings to full speed cost a tenth of a 1 GiB read.
constexpr int64_t kSlowStart = 16 << 20;
// A continuation counts as a stream after this many bytes in order: two random 128 KiB reads that
// happen to touch, or one that the kernel splits, must not start a window.
constexpr int64_t kProof = 320 << 10;

int64_t down(int64_t v, int64_t to) { return v / to * to; }
int64_t up(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

cache::Run clip(int64_t begin, int64_t end, int64_t size) {
  begin = std::max<int64_t>(0, begin);
  end = std::min(end, size);
  return {begin, std::max<int64_t>(0, end - begin)};
}

}  // namespace

Readahead::Stream* Readahead::find(int64_t offset, int64_t length) {
  Stream* best = nullptr;
  for (Stream& s : streams_) {
    if (s.next < 0) continue;
    const int64_t forward = std::max(s.window, length);
    if (offset < s.next - kBackward || offset > s.next + forward) continue;
    // Before a stream is proven only the exact continuation belongs to it.
    if (s.run < kProof && offset != s.next) continue;
    if (best == nullptr || std::abs(offset - s.next) < std::abs(offset - best->next)) best = &s;
  }
  return best;
}

Readahead::Stream& Readahead::recycle() {
  return *std::min_element(streams_.begin(), streams_.end(),
                           [](const Stream& a, const Stream& b) { return a.used < b.used; });
}

void Readahead::advance(Stream& s, int64_t offset, int64_t length, int64_t size, Advice& advice) {
  const int64_t end = offset + length;
  if (end > s.next) {
    s.run += end - s.next;
    s.next = end;
  }
  s.used = ++tick_;
  if (s.run < kProof && s.window == 0) return;
  if (s.window == 0) s.window = kFirstWindow;
  s.ahead_to = std::max(s.ahead_to, s.next);
  // Half of the window is used up: the reader goes on, so the window doubles and is filled again.
  if (s.next + s.window / 2 < s.ahead_to) return;
  if (s.run >= s.window) s.window = std::min(s.window * (s.window < kSlowStart ? 4 : 2), options_.max_window);
  advice.part = std::clamp(s.window / 4, kFirstWindow, options_.max_part);
  const int64_t from = s.ahead_to;
  const int64_t to = up(s.next + s.window, advice.part);
  advice.ahead = clip(from, to, size);
  s.ahead_to = std::max(s.ahead_to, std::min(to, size));
}

void Readahead::detect_stride(int64_t offset, int64_t length, int64_t size, Advice& advice) {
  const int64_t delta = last_offset_ < 0 ? 0 : offset - last_offset_;
  stride_count_ = delta != 0 && delta == last_delta_ ? stride_count_ + 1 : 0;
  last_delta_ = delta;
  last_offset_ = offset;
  if (stride_count_ < 2) return;
  // Two, four, then eight ahead: what a wrong guess costs is bounded by what was proven.
  const int depth = std::min(8, stride_count_);
  for (int i = 1; i <= depth; ++i) {
    const int64_t at = offset + delta * i;
    if (at < 0 || at >= size) break;
    advice.strided.push_back(clip(down(at, kPage), up(at + length, kPage), size));
  }
}

void Readahead::random_read(int64_t offset, int64_t length, int64_t size, bool hit, Advice& advice) {
  if (hit) {
    // What was fetched around earlier reads is used: fetch more again.
    if (++random_hits_ >= 4) {
      min_fetch_ = std::min(min_fetch_ * 2, options_.min_fetch);
      random_hits_ = random_misses_ = 0;
    }
  } else if (length < min_fetch_ && ++random_misses_ >= 8) {
    min_fetch_ = std::max(min_fetch_ / 2, std::min(options_.min_fetch, kPage));
    random_hits_ = random_misses_ = 0;
  }
  if (length >= min_fetch_) return;
  // The min_fetch block that the read lies in, pushed forward where the read crosses its end.
  const int64_t begin = down(offset, min_fetch_);
  const int64_t end = std::max(begin + min_fetch_, up(offset + length, kPage));
  advice.now = clip(begin, end, size);
}

Advice Readahead::on_read(int64_t offset, int64_t length, int64_t size, bool hit) {
  Advice advice;
  advice.now = clip(down(offset, kPage), up(offset + length, kPage), size);
  if (Stream* s = find(offset, length)) {
    advance(*s, offset, length, size, advice);
    if (s->window > 0) {
      // A stream fetches by whole checksum blocks: the rest of the block is what it reads next.
      const int64_t end = advice.now.offset + advice.now.length;
      advice.now = clip(down(advice.now.offset, kBlock), up(end, kBlock), size);
      if (advice.part == 0) advice.part = kFirstWindow;
    }
    return advice;
  }
  random_read(offset, length, size, hit, advice);
  detect_stride(offset, length, size, advice);
  Stream& s = recycle();
  s = Stream{};
  s.next = offset + length;
  s.run = length;
  s.used = ++tick_;
  // The file's beginning is where most readers start a pass over it: the window opens at once.
  if (offset == 0) {
    s.window = kFirstWindow;
    s.ahead_to = std::min(size, std::max(kFirstWindow, up(length, kBlock)));
    advice.now = clip(0, s.ahead_to, size);
    advice.part = kFirstWindow;
  }
  return advice;
}

void Readahead::not_fetched(cache::Run run) {
  for (Stream& s : streams_)
    if (s.next >= 0 && s.ahead_to > run.offset && s.next <= run.offset) s.ahead_to = run.offset;
}

}  // namespace s3cache::core
