#include "core/fetcher.h"

#include <utility>

namespace s3cache::core {

Fetcher::Fetcher(s3::S3Client& s3, BufferPool& pool, WorkerPool& workers)
    : s3_(s3), pool_(pool), workers_(workers) {
  // Units come back on any thread, also under a Content's lock: the queue is served from a worker.
  pool_.on_available([this] { workers_.post([this] { drain(); }); });
}

bool Fetcher::start(const std::shared_ptr<Content>& content, const std::shared_ptr<Segment>& segment) {
  const Waiting what{content, segment};
  std::vector<BufferPool::Unit> units;
  {
    MutexLock lock(mu_);
    // Nobody overtakes a foreground segment that waits for memory.
    if (!waiting_.empty()) {
      if (segment->background) return false;
      waiting_.push_back(what);
      return true;
    }
  }
  if (take(*segment, units)) {
    launch(what, std::move(units));
    return true;
  }
  if (segment->background) return false;
  {
    MutexLock lock(mu_);
    waiting_.push_back(what);
  }
  // Units may have come back between the refusal and the queueing.
  workers_.post([this] { drain(); });
  return true;
}

bool Fetcher::take(const Segment& segment, std::vector<BufferPool::Unit>& units) {
  while (!pool_.take(segment.unit_count(), segment.background, units)) {
    if (drop_newest_kept()) continue;
    if (segment.background || !reclaim()) return false;
  }
  return true;
}

bool Fetcher::keep(const std::shared_ptr<Content>& content, int64_t offset) {
  if (kept_.fetch_add(1) >= pool_.capacity() / 4) {
    kept_.fetch_sub(1);
    return false;
  }
  MutexLock lock(mu_);
  kept_list_.push_back({content, offset, round_});
  return true;
}

// The newest is what its reader needs last.
bool Fetcher::drop_newest_kept() {
  while (kept_.load() > 0) {
    Kept newest;
    {
      MutexLock lock(mu_);
      if (kept_list_.empty()) return false;
      newest = std::move(kept_list_.back());
      kept_list_.pop_back();
    }
    const auto content = newest.content.lock();
    if (content && content->drop_kept(newest.offset)) return true;
  }
  return false;
}

void Fetcher::trim() {
  std::vector<Kept> old;
  {
    MutexLock lock(mu_);
    ++round_;
    while (!kept_list_.empty() && kept_list_.front().round + 1 < round_) {
      old.push_back(std::move(kept_list_.front()));
      kept_list_.pop_front();
    }
  }
  for (const Kept& kept : old)
    if (const auto content = kept.content.lock()) content->drop_kept(kept.offset);
  pool_.trim();
}

// Gives up the oldest bytes kept in RAM that nobody waits for. False: there are none.
bool Fetcher::reclaim() {
  size_t left = 0;
  {
    MutexLock lock(mu_);
    left = in_ram_.size();
  }
  for (; left > 0; --left) {
    InRam oldest;
    {
      MutexLock lock(mu_);
      if (in_ram_.empty()) return false;
      oldest = std::move(in_ram_.front());
      in_ram_.pop_front();
    }
    const auto content = oldest.content.lock();
    if (!content) continue;
    const Content::Drop drop = content->drop_ram(oldest.offset);
    if (drop == Content::Drop::kDropped) return true;
    if (drop == Content::Drop::kGone) continue;
    MutexLock lock(mu_);
    in_ram_.push_back(std::move(oldest));
  }
  return false;
}

void Fetcher::ended() {
  MutexLock lock(mu_);
  --in_flight_;
  if (!waiting_.empty()) workers_.post([this] { drain(); });
}

void Fetcher::kept_in_ram(const std::shared_ptr<Content>& content, int64_t offset) {
  MutexLock lock(mu_);
  in_ram_.push_back({content, offset});
  // Contents that died leave entries behind: the list is swept when it is longer than the pool could fill.
  if (in_ram_.size() > 4 * pool_.capacity())
    std::erase_if(in_ram_, [](const InRam& r) { return r.content.expired(); });
  // Whoever waits for memory may take these bytes; no unit came back to say so.
  if (!waiting_.empty()) workers_.post([this] { drain(); });
}

void Fetcher::shutdown() {
  std::deque<Waiting> waiting;
  MutexLock lock(mu_);
  waiting.swap(waiting_);
  lock.unlock();  // their destructors take other locks
}

void Fetcher::launch(const Waiting& what, std::vector<BufferPool::Unit> units) {
  {
    MutexLock lock(mu_);
    ++in_flight_;
  }
  what.content->begin(what.segment, std::move(units));
  const ObjectSource& source = what.segment->source;
  s3::GetRequest request;
  request.key = source.key;
  const bool background = what.segment->background;
  request.priority = background ? s3::Priority::kBackground : s3::Priority::kForeground;
  // A whole object needs no condition: its own headers say which version came. Pieces do (never a mix).
  if (what.segment->offset != 0 || what.segment->length != what.content->id().size) {
    request.offset = what.segment->offset;
    request.length = what.segment->length;
    request.if_match = source.etag;
  }
  const s3::RequestId sent = s3_.get(std::move(request), what.content->make_sink(what.segment));
  what.content->set_request(what.segment, sent);
  // Somebody began to wait for it before there was an id to promote.
  if (background && !what.segment->background) s3_.promote(sent);
}

void Fetcher::drain() {
  for (;;) {
    Waiting next;
    {
      MutexLock lock(mu_);
      if (waiting_.empty()) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    std::vector<BufferPool::Unit> units;
    if (!take(*next.segment, units)) {
      MutexLock lock(mu_);
      if (in_flight_ > 0 || !pool_.take_over_limit(next.segment->unit_count(), units)) {
        waiting_.push_front(std::move(next));
        return;
      }
    }
    launch(next, std::move(units));
  }
}

}  // namespace s3cache::core
