#include "fuse/request.h"

#include <sched.h>

#include <cerrno>
#include <vector>

#include "fuse/ops.h"

namespace s3cache::fuse {

void Gate::close() {
  closed_.store(true);
  while (inside_.load() != 0) ::sched_yield();  // a reply is one writev
}

uint64_t Parked::add(std::weak_ptr<Request> request, uint64_t directory, uint64_t second_directory) {
  MutexLock lock(mu_);
  waiting_.emplace(++last_id_, Waiter{std::move(request), directory, second_directory});
  if (directory != 0) ++directories_[directory];
  if (second_directory != 0) ++directories_[second_directory];
  return last_id_;
}

void Parked::leave(uint64_t directory) {
  if (directory != 0 && --directories_[directory] == 0) directories_.erase(directory);
}

void Parked::remove(uint64_t id) {
  MutexLock lock(mu_);
  auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  leave(it->second.directory);
  leave(it->second.second_directory);
  waiting_.erase(it);
}

std::shared_ptr<Request> Parked::find(uint64_t id) {
  MutexLock lock(mu_);
  auto it = waiting_.find(id);
  return it == waiting_.end() ? nullptr : it->second.request.lock();
}

void Parked::answer_all(int err) {
  std::vector<std::shared_ptr<Request>> all;
  {
    MutexLock lock(mu_);
    for (auto& [id, waiter] : waiting_) {
      if (auto r = waiter.request.lock()) all.push_back(std::move(r));
    }
  }
  for (auto& r : all) {
    if (r->claim()) r->reply_err(err);
  }
}

size_t Parked::size() {
  MutexLock lock(mu_);
  return waiting_.size();
}

bool Parked::directory_waits(uint64_t nodeid) {
  MutexLock lock(mu_);
  return directories_.contains(nodeid);
}

Request::Request(std::shared_ptr<Parked> parked, fuse_req_t req, Kind kind)
    : parked_(std::move(parked)), req_(req), kind_(kind), tid_(caller_of(req).tid) {}

Request::~Request() {
  if (claim()) reply_err(EIO);
}

bool Request::claim() {
  int s = state_.load(std::memory_order_acquire);
  for (;;) {
    if (s == kAnswered) return false;
    if (s == kParking) {  // the worker is between two lines of park()
      ::sched_yield();
      s = state_.load(std::memory_order_acquire);
      continue;
    }
    if (state_.compare_exchange_weak(s, kAnswered)) break;
  }
  if (s == kParked) parked_->remove(id_);
  return true;
}

void Request::park(uint64_t directory, uint64_t second_directory) {
  int running = kRunning;
  // After this line req_ cannot be freed by another thread until kParked is set.
  if (!state_.compare_exchange_strong(running, kParking)) return;
  id_ = parked_->add(weak_from_this(), directory, second_directory);
  // The data is a number, not a pointer: libfuse may call with it after the request was answered.
  fuse_req_interrupt_func(req_, on_interrupt, reinterpret_cast<void*>(id_));
  state_.store(kParked);
  if (interrupted_.load()) interrupted();
}

void Request::on_interrupt(fuse_req_t req, void* id) {
  auto* ops = static_cast<UserData*>(fuse_req_userdata(req))->ops;
  auto self = ops->parked().find(reinterpret_cast<uint64_t>(id));
  if (self == nullptr) return;
  self->interrupted_.store(true);
  // In kParking this may be park()'s own thread, inside libfuse with the request's lock held: park() sees the
  // flag.
  if (self->state_.load() == kParked) self->interrupted();
}

void Request::interrupted() {
  // The kernel sends one INTERRUPT for the first signal and none for the SIGKILL that may follow.
  if (!give_up()) parked_->kill_watch().add(weak_from_this());
}

bool Request::give_up() {
  if (kind_ == Kind::kChanges && !KillWatch::dying(tid_)) return false;
  if (!claim()) return true;
  reply_err(EINTR);
  if (when_interrupted_) when_interrupted_();
  return true;
}

core::Caller caller_of(fuse_req_t req) { return {static_cast<uint32_t>(fuse_req_ctx(req)->pid)}; }

}  // namespace s3cache::fuse
