// The transfer side of Content: headers and bytes that arrive, units that reach the disk, transfers that end.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "core/content.h"
#include "s3/direct_sink.h"

namespace s3cache::core {

// One GET's sink: forwards to its Content, which it keeps alive.
class SegmentSink : public s3::DirectSink {
 public:
  SegmentSink(std::shared_ptr<Content> content, std::shared_ptr<Segment> segment)
      : content_(std::move(content)), segment_(std::move(segment)) {}
  bool on_headers(const s3::ObjectInfo& info) override { return content_->headers(segment_, info); }
  std::span<std::byte> space(int64_t offset) override { return content_->space(*segment_, offset); }
  bool on_data(int64_t, std::span<const std::byte> data) override {
    content_->arrived(segment_, data);
    return true;
  }
  void on_done(Status status) override { content_->ended(segment_, status); }

 private:
  const std::shared_ptr<Content> content_;
  const std::shared_ptr<Segment> segment_;
};

std::shared_ptr<s3::GetSink> Content::make_sink(std::shared_ptr<Segment> segment) {
  return std::make_shared<SegmentSink>(shared_from_this(), std::move(segment));
}

void Content::begin(const std::shared_ptr<Segment>& segment, std::vector<BufferPool::Unit> units) {
  ObjectSource source = host_.source_of(*this);
  MutexLock lock(mu_);
  segment->units = std::move(units);
  segment->source = std::move(source);
}

void Content::set_request(const std::shared_ptr<Segment>& segment, s3::RequestId request) {
  MutexLock lock(mu_);
  segment->request = request;
}

bool Content::headers(const std::shared_ptr<Segment>& segment, const s3::ObjectInfo& info) {
  // The same version with another length, or a version tag that is suddenly missing, is no answer about this
  // object: an error page or a body cut on the way. Another tag is another version.
  const std::string& etag = segment->source.etag;
  const bool same_tag = info.etag == etag || etag.empty();
  const bool nonsense = (!info.etag.empty() && info.etag == etag && info.size != id_.size) ||
                        (info.etag.empty() && !etag.empty());
  // Without tags the time has to tell versions of one size apart, as in version_of().
  const bool other_time = etag.empty() && id_.last_modified != 0 && info.last_modified != 0 &&
                          info.last_modified != id_.last_modified;
  const bool same = same_tag && !other_time && info.size == id_.size;
  std::vector<s3::HeadCallback> callbacks;
  {
    MutexLock lock(mu_);
    if (nonsense) {
      segment->refusal =
          Error{Code::kCorrupt, id_.key + ": the server's answer contradicts the object's listing"};
      return false;
    }
    if (!same) stale_ = true;
    if (!info_) info_ = info;
    callbacks.swap(on_headers_);
  }
  for (auto& callback : callbacks) callback(info);
  return same;
}

// The rest of the unit that `offset` lies in. Units beyond `filled` are the network thread's alone.
std::span<std::byte> Content::space(const Segment& segment, int64_t offset) {
  const auto index = static_cast<size_t>((offset - segment.offset) / BufferPool::kUnit);
  const int64_t in_unit = (offset - segment.offset) % BufferPool::kUnit;
  return {segment.units[index].get() + in_unit, static_cast<size_t>(segment.unit_length(index) - in_unit)};
}

void Content::arrived(const std::shared_ptr<Segment>& segment, std::span<const std::byte> data) {
  // Only this thread writes beyond `filled`, and nobody reads there: the copy needs no lock.
  int64_t at = 0;
  {
    MutexLock lock(mu_);
    at = segment->filled;
  }
  const auto total = static_cast<int64_t>(data.size());
  for (int64_t done = 0; done < total;) {
    const int64_t in_unit = (at + done) % BufferPool::kUnit;
    const int64_t n = std::min(total - done, BufferPool::kUnit - in_unit);
    const auto index = static_cast<size_t>((at + done) / BufferPool::kUnit);
    std::byte* const to = segment->units[index].get() + in_unit;
    if (to != data.data() + done) std::memcpy(to, data.data() + done, static_cast<size_t>(n));
    done += n;
  }
  const auto first = static_cast<size_t>(at / BufferPool::kUnit);
  std::vector<Waiter> ready;
  size_t complete = first;
  {
    MutexLock lock(mu_);
    segment->filled = at + total;
    if (segment->to_disk) {
      complete = segment->filled == segment->length
                     ? segment->unit_count()
                     : static_cast<size_t>(segment->filled / BufferPool::kUnit);
      for (size_t i = first; i < complete; ++i) segment->reserved -= segment->unit_length(i);
    }
    if (!waiters_.empty()) ready = take_ready();
  }
  for (size_t i = first; i < complete; ++i)
    host_.post_disk([self = shared_from_this(), segment, i] { self->store_unit(segment, i); });
  answer(std::move(ready));
}

void Content::store_unit(const std::shared_ptr<Segment>& segment, size_t index) {
  const int64_t length = segment->unit_length(index);
  BufferPool::Unit unit;
  {
    MutexLock lock(mu_);
    if (!segment->units.empty()) unit = segment->units[index];
  }
  if (!unit) return host_.unreserve(length);  // its segment stayed in RAM and was taken back
  const int64_t offset = segment->offset + static_cast<int64_t>(index) * BufferPool::kUnit;
  auto written = file_->write(offset, {unit.get(), static_cast<size_t>(length)});
  {
    MutexLock lock(mu_);
    ++segment->stored_units;
    if (!written.ok()) {
      disk_failed_ = true;
      segment->to_disk = false;  // the rest of it stays in RAM
    } else if (!segment->units.empty() &&
               !(wanted_soon(*segment, offset + length) && host_.keep(shared_from_this(), offset))) {
      segment->units[index].reset();
    } else if (!segment->units.empty()) {
      segment->kept.resize(segment->unit_count());
      segment->kept[index] = true;
      kept_units_.fetch_add(1, std::memory_order_relaxed);
    }
    finish_segment(segment);
  }
  unit.reset();
  // Pages that an earlier transfer brought, which then failed, are counted already.
  const int64_t added = written.ok() ? *written : 0;
  if (added < length) host_.unreserve(length - added);
  if (!written.ok()) {
    log::warn("cache file {:016x} of {}: {}; reading on without the cache", fid(), id_.key,
              written.error().message);
    host_.kept_in_ram(shared_from_this(), segment->offset);
  } else {
    if (added > 0) host_.stored(*this, added);
    host_.progressed(*this, !sealed() && file_->full());
  }
  check_whole();
}

// A finished segment whose units all reached the disk has nothing left to say.
void Content::finish_segment(const std::shared_ptr<Segment>& segment) {
  if (!segment->done || segment->stored_units < segment->unit_count()) return;
  const bool on_disk =
      std::all_of(segment->units.begin(), segment->units.end(), [](const auto& u) { return !u; });
  if (on_disk) erase(segment);
}

// Not by its offset alone: what failed or was taken back may have a successor there already.
void Content::erase(const std::shared_ptr<Segment>& segment) {
  const auto it = segments_.find(segment->offset);
  if (it != segments_.end() && it->second == segment) segments_.erase(it);
}

void Content::ended(const std::shared_ptr<Segment>& segment, const Status& status) {
  if (!status.ok()) {
    fail(segment, status.error());
    return host_.ended();
  }
  bool in_ram = false;
  int64_t unreserved = 0;
  std::vector<Waiter> ready;
  {
    MutexLock lock(mu_);
    segment->done = true;
    segment->request = 0;
    in_ram = !segment->to_disk;
    unreserved = std::exchange(segment->reserved, 0);
    finish_segment(segment);
    ready = take_ready();
  }
  if (unreserved > 0) host_.unreserve(unreserved);
  answer(std::move(ready));
  // After the answers: from here on the bytes may be taken back.
  if (in_ram) host_.kept_in_ram(shared_from_this(), segment->offset);
  check_whole();
  host_.ended();
}

void Content::fail(const std::shared_ptr<Segment>& segment, const Error& transfer) {
  const Error error = segment->refusal.value_or(transfer);
  const bool gone = error.code == Code::kStale || error.code == Code::kNotFound;
  // This mount renamed or copied it while the request was under way: the bytes are where the records say.
  const bool moved = gone && host_.source_of(*this) != segment->source;
  const bool replaced = gone && !moved;
  bool stale = false;
  Error reason = error;  // what readers get; a HEAD-like caller gets the server's own word
  int64_t unreserved = 0;
  std::vector<Waiter> again, failed;
  std::vector<Whole> whole, whole_again;
  std::vector<s3::HeadCallback> callbacks;
  {
    MutexLock lock(mu_);
    if (replaced) stale_ = true;
    stale = stale_;
    if (stale) reason = Error{Code::kStale, id_.key + " was replaced or deleted on the server"};
    // Units that arrived in full are with the disk pool already, and their share of the budget with them.
    unreserved = std::exchange(segment->reserved, 0);
    erase(segment);
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      const bool hit = it->offset < segment->end() && it->end() > segment->offset;
      if (!hit) {
        ++it;
        continue;
      }
      // What was only readahead, or cancelled under somebody's feet, is asked once more on the waiter's own
      // account.
      const bool retry =
          !stale && it->attempts == 0 && (moved || segment->background || error.code == Code::kCancelled);
      ++it->attempts;
      (retry ? again : failed).push_back(std::move(*it));
      it = waiters_.erase(it);
    }
    for (Whole& w : whole_) {
      const bool retry = !stale && w.attempts++ == 0 && (moved || error.code == Code::kCancelled);
      (retry ? whole_again : whole).push_back(std::move(w));
    }
    whole_.clear();
    callbacks.swap(on_headers_);
  }
  if (unreserved > 0) host_.unreserve(unreserved);
  if (stale) host_.went_stale(*this);
  for (auto& callback : callbacks) callback(error);
  for (auto& waiter : failed) waiter.done(reason);
  for (auto& w : whole) w.done(reason);
  for (auto& waiter : again) read_missing(std::move(waiter), false);
  for (auto& w : whole_again) fetch_whole(std::move(w), nullptr);
}

Content::Drop Content::drop_ram(int64_t offset) {
  std::vector<BufferPool::Unit> units;  // given back after the lock
  MutexLock lock(mu_);
  const auto it = segments_.find(offset);
  if (it == segments_.end() || !it->second->done || it->second->to_disk) return Drop::kGone;
  Segment& segment = *it->second;
  const bool wanted = std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter& w) {
    return w.offset < segment.end() && w.end() > segment.offset;
  });
  if (wanted || !whole_.empty()) return Drop::kWanted;
  units.swap(segment.units);
  segments_.erase(it);
  lock.unlock();
  return Drop::kDropped;
}

}  // namespace s3cache::core
