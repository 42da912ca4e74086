#include "core/content.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "core/scratch.h"

namespace s3cache::core {

namespace {

// A page that fails its checksum is fetched again this often before the reader gets EIO.
constexpr int kMaxAttempts = 3;

}  // namespace

Content::Content(ContentHost& host, ContentId id, Attr attr, std::unique_ptr<cache::CacheFile> file,
                 bool full, const ReadaheadOptions& readahead)
    : host_(host),
      id_(std::move(id)),
      attr_(attr),
      file_(std::move(file)),
      sealed_(full),
      checksums_loaded_(!full),
      readahead_(readahead) {
  recorded_ = file_ && file_->valid_bytes() > 0;
}

Content::~Content() {
  if (const size_t kept = kept_units_.load(); kept > 0) host_.unkept(kept);
  host_.closing(*this);
}

int64_t Content::cached_bytes() const { return file_ ? file_->valid_bytes() : 0; }

void Content::add_handle() {
  MutexLock lock(mu_);
  ++handles_;
}

void Content::drop_handle() {
  std::vector<s3::RequestId> idle;
  {
    MutexLock lock(mu_);
    if (--handles_ > 0) return;
    for (const auto& [offset, segment] : segments_)
      if (segment->background && !segment->done && segment->filled == 0 && segment->request != 0)
        idle.push_back(segment->request);
  }
  for (s3::RequestId request : idle) host_.cancel(request);
  drop_all_kept();
}

void Content::read(int64_t offset, size_t length, Callback<ReadReply> done) {
  if (offset >= id_.size || length == 0) return done(ReadReply{});
  length = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(length), id_.size - offset));
  const bool hit = cached(offset, static_cast<int64_t>(length));
  const bool kept = kept_units_.load(std::memory_order_relaxed) > 0;
  if (hit && (kept ? read_kept(offset, length, done) : read_cached(offset, length, done))) {
    if (sealed()) return;
    Segments to_start;
    {
      MutexLock lock(mu_);
      const Advice advice = readahead_.on_read(offset, static_cast<int64_t>(length), id_.size, true);
      plan(advice.ahead, advice.part, true, to_start);
      for (const cache::Run& run : advice.strided) plan(run, advice.part, true, to_start);
    }
    return start(to_start);
  }
  read_missing(Waiter{offset, static_cast<int64_t>(length), std::move(done)}, true);
}

bool Content::cached(int64_t offset, int64_t length) const {
  return file_ && !given_up_.load(std::memory_order_acquire) && file_->covers(offset, length);
}

// Bytes of the cache file, checksums verified. False: they are not there after all, the caller fetches them.
bool Content::read_file(int64_t offset, std::span<std::byte> out) {
  if (!checksums_loaded_.load(std::memory_order_acquire)) {
    host_.load_checksums(*this);  // by each of several first readers: nobody reads before they are there
    checksums_loaded_.store(true, std::memory_order_release);
  }
  auto n = file_->read(offset, out);
  if (n.ok() && *n == out.size() && cached(offset, static_cast<int64_t>(out.size()))) return true;
  // A partial file has cleared what failed its check, and takes the bytes again. One that the kernel may have
  // mapped is never repaired in place: from here on this version is read from the server, and the next open
  // gets a new file.
  const bool bad = !n.ok() && (sealed() || file_->lost());
  if (bad && !given_up_.exchange(true)) {
    log::warn("{}", n.error().message);
    host_.damaged(*this);
  }
  return false;
}

bool Content::read_cached(int64_t offset, size_t length, const Callback<ReadReply>& done) {
  const auto buffer = scratch(length);
  if (!read_file(offset, buffer)) return false;
  const iovec io{buffer.data(), length};
  done(ReadReply(&io, 1));
  return true;
}

void Content::read_missing(Waiter waiter, bool advise) {
  Segments to_start;
  std::vector<s3::RequestId> promoted;
  std::vector<Piece> pieces;
  std::vector<BufferPool::Unit> read;
  Segments hollow;  // dies after the lock, its units go back to the pool
  bool ready = false;
  {
    MutexLock lock(mu_);
    Advice advice;
    if (advise) {
      advice = readahead_.on_read(waiter.offset, waiter.length, id_.size, false);
    } else {
      const int64_t begin = waiter.offset / cache::kPage * cache::kPage;
      advice.now = {begin, std::min(id_.size, waiter.end() + cache::kPage - 1) - begin};
    }
    ready = collect(waiter.offset, waiter.length, &pieces) == Found::kAll;
    if (!ready) {
      if (stale_) {
        lock.unlock();
        return waiter.done(Error{Code::kStale, id_.key + " was replaced on the server"});
      }
      hollow = take_hollow(waiter.offset, waiter.end());
      plan(advice.now, advice.part, false, to_start);
      promote_overlapping(waiter.offset, waiter.end(), promoted);
    }
    plan(advice.ahead, advice.part, true, to_start);
    for (const cache::Run& run : advice.strided) plan(run, advice.part, true, to_start);
    if (ready) {
      passed(waiter.offset, waiter.end(), read);
    } else {
      waiters_.push_back(std::move(waiter));
    }
  }
  if (ready) reply(waiter, pieces);
  pieces.clear();  // their memory may be what the next request waits for
  if (!read.empty()) host_.unkept(read.size());
  read.clear();
  hollow.clear();
  for (s3::RequestId request : promoted) host_.promote(request);
  start(to_start);
}

void Content::plan(cache::Run range, int64_t part, bool background, Segments& out) {
  if (range.length <= 0) return;
  std::vector<cache::Run> runs;
  if (file_ && !given_up_) {
    runs = file_->missing(range.offset, range.length);
  } else {
    const int64_t begin = range.offset / cache::kPage * cache::kPage;
    runs.push_back({begin, range.offset + range.length - begin});
  }
  for (const cache::Run& run : runs) add_segments(run, part, background, out);
}

void Content::add_segments(cache::Run run, int64_t part, bool background, Segments& out) {
  const int64_t end = run.offset + run.length;
  int64_t at = run.offset;
  auto next = segments_.upper_bound(at);
  if (next != segments_.begin()) at = std::max(at, std::prev(next)->second->end());
  while (at < end) {
    int64_t stop = next == segments_.end() ? end : std::min(end, next->first);
    // Parts end on multiples of their size: neighbours of one stream then meet exactly.
    if (part > 0) stop = std::min(stop, (at / part + 1) * part);
    if (at < stop) {
      auto segment = std::make_shared<Segment>();
      segment->offset = at;
      segment->length = stop - at;
      segment->background = segment->streamed = background;
      next = std::next(segments_.emplace(at, segment).first);
      out.push_back(std::move(segment));
      at = stop;
    } else {
      at = std::max(at, next->second->end());
      ++next;
    }
  }
}

void Content::promote_overlapping(int64_t offset, int64_t end, std::vector<s3::RequestId>& out) {
  auto it = segments_.upper_bound(offset);
  if (it != segments_.begin()) --it;
  for (; it != segments_.end() && it->first < end; ++it) {
    Segment& s = *it->second;
    if (s.end() <= offset || !s.background) continue;
    s.background = false;
    if (!s.done && s.request != 0) out.push_back(s.request);
  }
}

std::shared_ptr<Segment> Content::segment_at(int64_t offset) {
  auto it = segments_.upper_bound(offset);
  if (it == segments_.begin()) return nullptr;
  --it;
  return it->second->end() > offset ? it->second : nullptr;
}

Content::Found Content::collect(int64_t offset, int64_t length, std::vector<Piece>* pieces) {
  const int64_t end = offset + length;
  for (int64_t at = offset; at < end;) {
    const auto segment = segment_at(at);
    if (segment && segment->offset + segment->filled > at) {
      const int64_t inside = at - segment->offset;
      const auto index = static_cast<size_t>(inside / BufferPool::kUnit);
      const int64_t in_unit = inside % BufferPool::kUnit;
      int64_t n = std::min({end - at, segment->filled - inside, BufferPool::kUnit - in_unit});
      const auto& unit = segment->units[index];
      if (!unit && !cached(at, n)) return segment->done ? Found::kLost : Found::kComing;
      if (pieces) pieces->push_back({at, n, unit, unit ? unit.get() + in_unit : nullptr});
      at += n;
      continue;
    }
    if (segment) return Found::kComing;
    const auto next = segments_.upper_bound(at);
    const int64_t n = (next == segments_.end() ? end : std::min(end, next->first)) - at;
    if (!cached(at, n)) return Found::kLost;
    if (pieces) pieces->push_back({at, n, nullptr, nullptr});
    at += n;
  }
  return Found::kAll;
}

// Finished segments of the range that went to the cache file in part, which then lost it: what is left of
// them in RAM would keep add_segments() from asking for the rest again.
Content::Segments Content::take_hollow(int64_t offset, int64_t end) {
  Segments out;
  auto it = segments_.upper_bound(offset);
  if (it != segments_.begin()) --it;
  while (it != segments_.end() && it->first < end) {
    const Segment& s = *it->second;
    if (!s.done || s.end() <= offset || collect(s.offset, s.length, nullptr) == Found::kAll) {
      ++it;
      continue;
    }
    out.push_back(std::move(it->second));
    it = segments_.erase(it);
  }
  return out;
}

void Content::reply(const Waiter& waiter, const std::vector<Piece>& pieces) {
  std::vector<iovec> io;
  io.reserve(pieces.size());
  size_t from_disk = 0;
  for (const Piece& p : pieces)
    if (p.data == nullptr) from_disk += static_cast<size_t>(p.length);
  const auto buffer = scratch(from_disk);
  size_t at = 0;
  for (const Piece& p : pieces) {
    const auto n = static_cast<size_t>(p.length);
    if (p.data != nullptr) {
      io.push_back({const_cast<std::byte*>(p.data), n});
      continue;
    }
    if (!read_file(p.offset, buffer.subspan(at, n))) {
      Waiter again = waiter;
      if (++again.attempts >= kMaxAttempts) {
        if (given_up_.exchange(true))
          return waiter.done(Error{Code::kIo, id_.key + ": cached bytes cannot be read back"});
        // Say, no descriptor is free: from here on this content is read from the server.
        log::warn("cache file {:016x} of {} cannot be read; reading on without the cache", fid(), id_.key);
        again.attempts = 0;
      }
      return read_missing(std::move(again), false);
    }
    io.push_back({buffer.data() + at, n});
    at += n;
  }
  waiter.done(ReadReply(io));
}

void Content::start(const Segments& segments) {
  for (const auto& segment : segments) {
    bool to_disk = file_ && !given_up_;
    {
      MutexLock lock(mu_);
      to_disk = to_disk && !disk_failed_;
    }
    to_disk = to_disk && host_.reserve(*this, segment->length);
    {
      MutexLock lock(mu_);
      segment->to_disk = to_disk;
      segment->reserved = to_disk ? segment->length : 0;
    }
    if (!host_.start(shared_from_this(), segment)) refused(segment);
  }
}

// Readahead that found no memory: forgotten, unless somebody began to wait for it in the meantime.
void Content::refused(const std::shared_ptr<Segment>& segment) {
  bool needed = false;
  {
    MutexLock lock(mu_);
    needed = !segment->background || std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter& w) {
      return w.offset < segment->end() && w.end() > segment->offset;
    });
    if (needed) {
      segment->background = false;
    } else {
      segments_.erase(segment->offset);
      readahead_.not_fetched({segment->offset, segment->length});
    }
  }
  if (needed) {
    host_.start(shared_from_this(), segment);
  } else if (segment->reserved > 0) {
    host_.unreserve(segment->reserved);
  }
}

// Those to be answered, and those that would wait for ever: answer() asks for their bytes once more.
std::vector<Content::Waiter> Content::take_ready() {
  std::vector<Waiter> ready;
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (collect(it->offset, it->length, nullptr) == Found::kComing) {
      ++it;
      continue;
    }
    ready.push_back(std::move(*it));
    it = waiters_.erase(it);
  }
  return ready;
}

void Content::answer(std::vector<Waiter> ready) {
  for (Waiter& waiter : ready) {
    std::vector<Piece> pieces;
    std::vector<BufferPool::Unit> read;
    bool complete = false;
    {
      MutexLock lock(mu_);
      complete = collect(waiter.offset, waiter.length, &pieces) == Found::kAll;
      if (complete) passed(waiter.offset, waiter.end(), read);
    }
    if (complete) {
      reply(waiter, pieces);
      if (!read.empty()) host_.unkept(read.size());
    } else {
      pieces.clear();
      read_missing(std::move(waiter), false);  // RAM taken back in between, or lost by the cache file
    }
  }
}

}  // namespace s3cache::core
