#include "core/tree_walk.h"

#include <algorithm>
#include <utility>

#include "core/tree_walks.h"

namespace s3cache::core {

using s3::ListPage;
using s3::Priority;

namespace {

// Where the keys of the directory end: '0' is what follows '/'.
std::string end_of(const std::string& key) { return key.substr(0, key.size() - 1) + '0'; }

// A key before the directory and its object, and behind all siblings that sort before it, but for strange
// ones. StartAfter leaves out the key it names, so it cannot be the directory's own.
std::string before(const std::string& key) { return key.substr(0, key.size() - 1) + ".~~~~"; }

}  // namespace

TreeWalk::TreeWalk(TreeWalks& owner, uint64_t top, std::string prefix, const std::string& from)
    : owner_(owner),
      c_(owner.context()),
      top_(top),
      prefix_(std::move(prefix)),
      start_after_(before(from)),
      merge_(c_, owner.records(), top, prefix_, start_after_),
      position_(start_after_),
      used_at_ns_(c_.now()) {}

bool TreeWalk::await(const std::string& key, std::function<void()> wake) {
  s3::RequestId promote = 0;
  {
    MutexLock lock(mu_);
    std::string end = end_of(key);
    if (over_ || key < start_after_ || position_ >= end) return false;
    waiters_.push_back({key, std::move(end), std::move(wake), 0});
    used_at_ns_ = c_.now();
    if (std::exchange(background_, false)) promote = request_;
  }
  if (promote != 0) c_.s3.promote(promote);
  ask_if_wanted();
  return true;
}

void TreeWalk::reached(const std::string& key) {
  {
    MutexLock lock(mu_);
    used_at_ns_ = c_.now();
    while (!unread_.empty() && unread_.front() < key) unread_.pop_front();
  }
  ask_if_wanted();
}

int64_t TreeWalk::used_at_ns() {
  MutexLock lock(mu_);
  return used_at_ns_;
}

void TreeWalk::stop() {
  std::vector<Waiter> waiters;
  {
    MutexLock lock(mu_);
    over_ = true;
    waiters.swap(waiters_);
  }
  for (const Waiter& waiter : waiters) waiter.wake();
}

bool TreeWalk::should_ask() const {
  return !over_ && !in_flight_ && (!waiters_.empty() || unread_.size() < kAhead);
}

void TreeWalk::ask_if_wanted() {
  s3::ListRequest request;
  {
    MutexLock lock(mu_);
    if (!should_ask()) return;
    in_flight_ = true;
    request.prefix = prefix_;
    request.delimiter = false;
    request.continuation = token_;
    if (token_.empty()) request.start_after = start_after_;
    request.max_keys = c_.options.list_max_keys;
    background_ = waiters_.empty();
    request.priority = background_ ? Priority::kBackground : Priority::kForeground;
    request_ = 0;
  }
  const bool background = request.priority == Priority::kBackground;
  const int64_t asked_at = c_.now();
  const s3::RequestId id =
      c_.s3.list(std::move(request), [self = shared_from_this(), asked_at](Result<ListPage> page) {
        self->on_page(std::move(page), asked_at);
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

TreeWalk::Fate TreeWalk::merge(Result<ListPage> page, int64_t asked_at_ns) {
  c_.listings++;
  if (!page.ok()) {
    if (!page.is(Code::kInvalid)) return Fate::kUseless;
    owner_.refused(page.error());
    return Fate::kUseless;
  }
  if (c_.unordered) return Fate::kUseless;
  const bool last = !page->truncated;
  const std::string token = std::move(page->next_token);
  const auto merged = merge_.page(std::move(*page), asked_at_ns, last);
  if (!merged.ok()) {
    if (!merged.is(Code::kInvalid) && !merged.is(Code::kCorrupt)) return Fate::kUseless;
    owner_.refused(merged.error());
    return Fate::kUseless;
  }
  MutexLock lock(mu_);
  position_ = merge_.position();
  unread_.push_back(position_);
  if (last) return Fate::kEnded;
  const bool circle = token.empty() || std::exchange(token_, token) == token;
  const bool cheaper = merged->completed > 0 || merged->touched == 1;
  return circle || !cheaper ? Fate::kUseless : Fate::kGoesOn;
}

TreeWalk::Fate TreeWalk::take_ready(std::vector<std::function<void()>>& wakes) {
  bool give_up = false;
  std::erase_if(waiters_, [&](Waiter& waiter) REQUIRES(mu_) {
    const bool come = position_ >= waiter.end;
    if (!come && ++waiter.pages < kPatience) return false;
    // In the middle of it already, or time and again far from what is wanted: not what this is for.
    impatient_ = come ? 0 : impatient_ + 1;
    give_up |= !come && (position_ >= waiter.key || impatient_ >= 2);
    wakes.push_back(std::move(waiter.wake));
    return true;
  });
  return give_up ? Fate::kUseless : Fate::kGoesOn;
}

void TreeWalk::on_page(Result<ListPage> page, int64_t asked_at_ns) {
  Fate fate = merge(std::move(page), asked_at_ns);
  std::vector<std::function<void()>> wakes;
  {
    MutexLock lock(mu_);
    in_flight_ = false;
    request_ = 0;
    if (fate == Fate::kGoesOn) fate = take_ready(wakes);
    over_ |= fate != Fate::kGoesOn;
    if (over_) {
      for (Waiter& waiter : waiters_) wakes.push_back(std::move(waiter.wake));
      waiters_.clear();
    }
  }
  if (fate != Fate::kGoesOn) owner_.finished(this, fate == Fate::kEnded);
  ask_if_wanted();
  for (const auto& wake : wakes) wake();
  owner_.collect();
}

}  // namespace s3cache::core
