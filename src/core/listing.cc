#include "core/listing.h"

#include <utility>

namespace s3cache::core {

using s3::ListPage;
using s3::Priority;

Listing::Listing(Listings& owner, uint64_t dir, std::string prefix, int64_t started_at_ns)
    : owner_(owner),
      c_(owner.context()),
      dir_(dir),
      prefix_(std::move(prefix)),
      started_at_ns_(started_at_ns),
      dir_pages_(c_, owner.records(), dir, prefix_, started_at_ns) {}

Listing::View Listing::view() {
  MutexLock lock(mu_);
  return {frontier_, done_, error_, generation_};
}

bool Listing::hides(const std::string& tail) {
  MutexLock lock(mu_);
  return gone_.contains(tail);
}

std::vector<std::string> Listing::late_names(size_t from) {
  MutexLock lock(mu_);
  return {late_.begin() + static_cast<ptrdiff_t>(std::min(from, late_.size())), late_.end()};
}

int64_t Listing::covered_at(const std::string& tail) {
  MutexLock lock(mu_);
  return !frontier_.empty() && tail <= frontier_ && !gone_.contains(tail) ? started_at_ns_ : 0;
}

bool Listing::wait(uint64_t generation, std::function<void()> wake) {
  s3::RequestId promote = 0;
  {
    MutexLock lock(mu_);
    if (generation_ != generation || done_ || error_) return false;
    waiters_.push_back(std::move(wake));
    if (std::exchange(background_, false)) promote = request_;
  }
  if (promote != 0) c_.s3.promote(promote);
  return true;
}

bool Listing::wait_for_name(uint64_t generation, int pages, std::function<void()> wake) {
  s3::RequestId promote = 0;
  {
    MutexLock lock(mu_);
    if (generation_ == generation) {
      const bool under_way = in_flight_ || draining_ || !pages_.empty();
      if (done_ || error_ || asked_ > pages || !under_way) return false;
      waiters_.push_back(std::move(wake));
      if (std::exchange(background_, false)) promote = request_;
    }
  }
  if (promote != 0) c_.s3.promote(promote);
  if (wake) wake();
  return true;
}

void Listing::add_reader() {
  {
    MutexLock lock(mu_);
    readers_++;
  }
  ask_if_wanted();
}

void Listing::drop_reader() {
  MutexLock lock(mu_);
  readers_--;
}

void Listing::grant(int pages) {
  {
    MutexLock lock(mu_);
    granted_ = std::max(granted_, pages);
  }
  ask_if_wanted();
}

void Listing::grant_more(int pages) {
  {
    MutexLock lock(mu_);
    granted_ = asked_ + pages;
  }
  ask_if_wanted();
}

void Listing::supersede_if_unread() {
  {
    MutexLock lock(mu_);
    if (readers_ > 0) return;
  }
  dir_pages_.merge().supersede();
  fail(Error{Code::kCancelled, "a younger listing runs"});
  wake_waiters();
}

bool Listing::resting() {
  MutexLock lock(mu_);
  return !in_flight_ && !draining_ && pages_.empty() && !should_ask();
}

bool Listing::should_ask() const {
  // Two pages ahead of the merge are enough: it is faster than the network, and memory stays bounded if not.
  return !in_flight_ && !last_seen_ && !error_ && pages_.size() < 2 && (readers_ > 0 || asked_ < granted_);
}

void Listing::ask_if_wanted() {
  s3::ListRequest request;
  {
    MutexLock lock(mu_);
    if (!should_ask()) return;
    in_flight_ = true;
    asked_++;
    request.prefix = prefix_;
    request.continuation = token_;
    request.max_keys = c_.options.list_max_keys;
    background_ = readers_ == 0 && waiters_.empty();
    request.priority = background_ ? Priority::kBackground : Priority::kForeground;
    request_ = 0;
  }
  const bool background = request.priority == Priority::kBackground;
  const int64_t asked_at = c_.now();
  const s3::RequestId id =
      c_.s3.list(std::move(request), [self = shared_from_this(), asked_at](Result<ListPage> page) {
        self->on_page({std::move(page), asked_at});
      });
  bool promote = false;
  {
    MutexLock lock(mu_);
    if (!in_flight_ || request_ != 0) return;
    request_ = id;
    promote = background && !background_;
  }
  if (promote) c_.s3.promote(id);
}

Status Listing::check_progress(const ListPage& page) {
  if (!page.truncated) {
    last_seen_ = true;
    return {};
  }
  if (page.next_token.empty() || page.next_token == token_) {
    return Error{Code::kCorrupt,
                 "the listing of \"" + prefix_ + "\" does not get on: the server repeats its place"};
  }
  token_ = page.next_token;
  return {};
}

void Listing::on_page(Page page) {
  {
    MutexLock lock(mu_);
    in_flight_ = false;
    request_ = 0;
    if (page.answer.ok()) {
      if (Status s = check_progress(*page.answer); !s.ok()) page.answer = s.error();
    }
    if (!page.answer.ok()) last_seen_ = true;
    pages_.push_back(std::move(page));
  }
  ask_if_wanted();
  drain();
}

void Listing::drain() {
  for (;;) {
    std::optional<Page> page;
    {
      MutexLock lock(mu_);
      if (std::exchange(draining_, true)) return;
      if (pages_.empty()) {
        draining_ = false;
        return;
      }
      page = std::move(pages_.front());
      pages_.pop_front();
    }
    const bool over = merge(std::move(*page));
    {
      MutexLock lock(mu_);
      draining_ = false;
    }
    if (over) {
      end();
    } else {
      ask_if_wanted();
    }
    wake_waiters();
    owner_.collector().step();
  }
}

void Listing::end() {
  bool small = false, read = false;
  {
    MutexLock lock(mu_);
    small = done_ && asked_ == 1;
    read = readers_ > 0;
  }
  owner_.finished(dir_, this);
  if (small) owner_.walks().listed(dir_, read);
}

bool Listing::merge(Page page) {
  c_.listings++;
  if (!page.answer.ok()) {
    fail(page.answer.error());
    return true;
  }
  const bool last = !page.answer->truncated;
  const auto outcome = dir_pages_.write(std::move(*page.answer), page.asked_at_ns, last);
  if (!outcome.ok()) {
    fail(outcome.error());
    return true;
  }
  publish(*outcome, last);
  return last;
}

void Listing::publish(const ListingMerge::Outcome& outcome, bool done) {
  MutexLock lock(mu_);
  frontier_ = dir_pages_.merge().frontier();
  // After the end a reader may still look at a moment of the store before the removal, so they stay hidden.
  if (outcome.gone_removed && !done) {
    gone_.clear();
  } else {
    gone_.insert(outcome.gone.begin(), outcome.gone.end());
  }
  for (const std::string& tail : outcome.late) {
    gone_.erase(tail);
    late_.push_back(tail);
  }
  done_ = done;
  generation_++;
}

void Listing::fail(const Error& error) {
  MutexLock lock(mu_);
  if (!error_) error_ = error;
  generation_++;
}

void Listing::wake_waiters() {
  std::vector<std::function<void()>> waiters;
  {
    MutexLock lock(mu_);
    waiters.swap(waiters_);
  }
  for (const auto& waiter : waiters) waiter();
}

Result<std::shared_ptr<Listing>> Listings::join(uint64_t dir) {
  auto prefix = c_.inodes.key_of(dir);
  if (!prefix.ok()) return Error{Code::kStale, prefix.error().message};
  // One whose names were forgotten meanwhile (ColdNames) has nothing to show for them.
  const auto known = load_record<meta::Dir>(c_.store(), meta::Table::kDir, meta::id_key(dir));
  if (!known.ok()) return known.error();
  const int64_t thinned_at = *known && !(*known)->complete ? (*known)->listed_at_ns : 0;
  std::shared_ptr<Listing> old;
  MutexLock lock(mu_);
  std::shared_ptr<Listing>& slot = table_[dir];
  // What an old listing has shown already must not pass for fresh, so past the TTL a new one begins. One that
  // is being read goes on for its readers: with a TTL of 0 they would otherwise push each other out for ever.
  if (slot && c_.fresh(slot->started_at_ns()) && slot->started_at_ns() > thinned_at) return slot;
  old = slot;
  if (table_.size() > kMaxResting) {
    for (auto it = table_.begin(); it != table_.end();) {
      it = it->first != dir && it->second->resting() ? table_.erase(it) : std::next(it);
    }
  }
  auto made = std::make_shared<Listing>(*this, dir, std::move(*prefix), c_.now());
  table_[dir] = made;
  lock.unlock();
  if (old) old->supersede_if_unread();
  return made;
}

std::shared_ptr<Listing> Listings::find(uint64_t dir) {
  MutexLock lock(mu_);
  const auto it = table_.find(dir);
  return it == table_.end() ? nullptr : it->second;
}

void Listings::finished(uint64_t dir, const Listing* listing) {
  MutexLock lock(mu_);
  const auto it = table_.find(dir);
  if (it != table_.end() && it->second.get() == listing) table_.erase(it);
}

}  // namespace s3cache::core
