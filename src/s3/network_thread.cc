#include "s3/network_thread.h"

#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "base/clock.h"

namespace s3cache::s3 {

namespace {

constexpr int kIdlePollMs = 1000;

int64_t now_ms() { return Clock::real().mono_ms(); }

short curl_events(short events) {
  return static_cast<short>((events & POLLIN ? CURL_WAIT_POLLIN : 0) |
                            (events & POLLOUT ? CURL_WAIT_POLLOUT : 0));
}

// Signals belong to the main thread; SIGPIPE (OpenSSL writing to a closed socket) to nobody.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

bool proxy_in_environment() {
  return std::getenv("http_proxy") != nullptr || std::getenv("all_proxy") != nullptr ||
         std::getenv("ALL_PROXY") != nullptr;
}

}  // namespace

NetworkThread::NetworkThread(const HttpOptions& options, int number, int max_running)
    : options_(options),
      number_(number),
      max_running_(max_running),
      multi_(curl_multi_init()),
      plain_(options.proxy.empty() && !proxy_in_environment()),
      limit_(max_running) {
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING));
  // Without it the cache of connections shrinks with the number of running transfers.
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(max_running));
  thread_ = std::thread([this] { run(); });
}

NetworkThread::~NetworkThread() {
  stop();
  join();
  idle_.clear();
  curl_multi_cleanup(multi_);
}

bool NetworkThread::claim_wake() { return !std::exchange(woken_, true); }

void NetworkThread::wake() {
  if (claim_wake()) curl_multi_wakeup(multi_);
}

void NetworkThread::submit(RequestId id, std::shared_ptr<HttpTask> task, Priority priority) {
  auto job = std::make_shared<Job>();
  job->id = id;
  job->task = std::move(task);
  job->priority = priority;
  load_.fetch_add(1, std::memory_order_relaxed);
  MutexLock l(mu_);
  if (stopping_) {
    l.unlock();
    // The thread may be gone; the answer still comes, from here.
    job->task->on_failed(Error{Code::kCancelled, "shutting down"});
    load_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  jobs_.emplace(id, job);
  enqueue(job);
  const bool asleep = claim_wake();
  l.unlock();
  if (asleep) curl_multi_wakeup(multi_);
}

void NetworkThread::enqueue(const JobPtr& job) {
  job->place = Place::kReady;
  (job->priority == Priority::kForeground ? foreground_ : background_).push_back(job);
}

void NetworkThread::cancel(RequestId id) {
  MutexLock l(mu_);
  const auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second->cancelled) return;
  it->second->cancelled = true;
  to_cancel_.push_back(it->second);
  wake();
}

void NetworkThread::promote(RequestId id) {
  MutexLock l(mu_);
  const auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second->priority == Priority::kForeground) return;
  const JobPtr job = it->second;
  job->priority = Priority::kForeground;
  if (job->place != Place::kReady) return;
  std::erase(background_, job);
  foreground_.push_back(job);
  wake();
}

void NetworkThread::set_limit(int n) {
  MutexLock l(mu_);
  limit_ = std::clamp(n, 1, max_running_);
  wake();
}

void NetworkThread::stop() {
  MutexLock l(mu_);
  if (stopping_) return;
  stopping_ = true;
  for (const auto& [id, job] : jobs_) {
    if (job->cancelled) continue;
    job->cancelled = true;
    to_cancel_.push_back(job);
  }
  wake();
}

void NetworkThread::join() {
  if (thread_.joinable()) thread_.join();
}

void NetworkThread::collect_cancelled(std::vector<JobPtr>& out) {
  for (const JobPtr& job : to_cancel_) {
    if (job->place == Place::kReady) {
      std::erase(foreground_, job);
      std::erase(background_, job);
    } else if (job->place == Place::kDelayed) {
      std::erase(delayed_, job);
    }
    // A job that ended by itself meanwhile is no longer in the table.
    if (jobs_.count(job->id) != 0) out.push_back(job);
  }
  to_cancel_.clear();
}

void NetworkThread::collect_due() {
  if (delayed_.empty()) return;
  const int64_t now = now_ms();
  for (const JobPtr& job : delayed_)
    if (job->due_ms <= now) enqueue(job);
  std::erase_if(delayed_, [](const JobPtr& job) { return job->place == Place::kReady; });
}

bool NetworkThread::has_slot(Priority priority) {
  if (static_cast<int>(running_.size() + exchanging_.size()) >= limit_) return false;
  return priority == Priority::kForeground || running_background_ < std::max(1, limit_ - limit_ / 4);
}

NetworkThread::JobPtr NetworkThread::next_ready() {
  const Priority priority = foreground_.empty() ? Priority::kBackground : Priority::kForeground;
  auto& queue = foreground_.empty() ? background_ : foreground_;
  if (queue.empty() || !has_slot(priority)) return nullptr;
  JobPtr job = std::move(queue.front());
  queue.pop_front();
  job->place = Place::kRunning;
  job->counted_background = job->priority == Priority::kBackground;
  return job;
}

void NetworkThread::run() {
  block_signals();
  pthread_setname_np(pthread_self(), ("s3-net-" + std::to_string(number_)).c_str());
  std::vector<JobPtr> cancelled;
  for (;;) {
    {
      MutexLock l(mu_);
      woken_ = false;
      cancelled.clear();
      collect_cancelled(cancelled);
      collect_due();
      if (stopping_ && jobs_.empty()) return;
    }
    end_cancelled(cancelled);
    start_ready();
    if (!running_.empty()) {
      int still_running = 0;
      curl_multi_perform(multi_, &still_running);
      reap();
    }
    poll();
  }
}

void NetworkThread::poll() {
  waits_.clear();
  for (const JobPtr& job : exchanging_)
    waits_.push_back({job->plain->fd(), curl_events(job->plain->events()), 0});
  curl_multi_poll(multi_, waits_.data(), static_cast<unsigned>(waits_.size()), poll_timeout_ms(), nullptr);
  if (waits_.empty()) return;
  polled_ = exchanging_;  // which changes below
  const int64_t now = now_ms();
  for (size_t i = 0; i < polled_.size(); ++i) {
    PlainExchange& exchange = *polled_[i]->plain;
    if (waits_[i].revents != 0) {
      pumped(polled_[i], exchange.pump(now));
    } else if (exchange.overdue(now)) {
      pumped(polled_[i], PlainExchange::Step::kDone);
    }
  }
  polled_.clear();
}

void NetworkThread::end_cancelled(const std::vector<JobPtr>& jobs) {
  for (const JobPtr& job : jobs) {
    if (job->handle || job->plain) detach(*job);
    job->task->on_failed(Error{Code::kCancelled, "cancelled"});
    finish(job);
  }
}

void NetworkThread::start_ready() {
  for (;;) {
    JobPtr job;
    {
      MutexLock l(mu_);
      job = next_ready();
    }
    if (!job) return;
    start(job);
  }
}

int NetworkThread::poll_timeout_ms() {
  MutexLock l(mu_);
  if (stopping_ && jobs_.empty()) return 0;
  // Slots that reap() freed are filled at once.
  const bool foreground = !foreground_.empty();
  if ((foreground || !background_.empty()) &&
      has_slot(foreground ? Priority::kForeground : Priority::kBackground))
    return 0;
  int64_t timeout = kIdlePollMs;
  for (const JobPtr& job : delayed_) timeout = std::min(timeout, job->due_ms - now_ms());
  return static_cast<int>(std::max<int64_t>(0, timeout));
}

void NetworkThread::start(const JobPtr& job) {
  auto request = job->task->build();
  if (!request.ok()) {
    job->counted_background = false;
    job->task->on_failed(request.error());
    finish(job);
    return;
  }
  if (job->counted_background) ++running_background_;
  if (start_plain(job, *request)) return;
  if (idle_.empty()) {
    job->handle = std::make_unique<CurlHandle>(options_);
  } else {
    job->handle = std::move(idle_.back());
    idle_.pop_back();
  }
  if (job->request) {
    job->handle->attach_connect(*job->request);
  } else {
    job->handle->attach(*request, job->task.get());
  }
  running_[job->handle->get()] = job;
  curl_multi_add_handle(multi_, job->handle->get());
}

// True: it runs. False with job->request set: it needs a connection first; without: it is curl's.
bool NetworkThread::start_plain(const JobPtr& job, HttpRequest& request) {
  job->request.reset();
  if (!plain_ || job->through_curl || !job->task->in_place()) return false;
  const auto origin = plain_origin(request.url);
  if (!origin) return false;
  const int64_t now = now_ms();
  std::erase_if(connections_, [&](const auto& c) { return !c->usable(now); });
  for (auto it = connections_.rbegin(); it != connections_.rend() && !job->on_new_connection; ++it) {
    if ((*it)->origin() != *origin) continue;
    auto exchange = std::move(*it);
    connections_.erase(std::next(it).base());
    begin_plain(job, std::move(exchange), request);
    return true;
  }
  job->request = std::move(request);
  return false;
}

void NetworkThread::begin_plain(const JobPtr& job, std::unique_ptr<PlainExchange> exchange,
                                const HttpRequest& request) {
  const int64_t now = now_ms();
  job->plain = std::move(exchange);
  exchanging_.push_back(job);
  job->plain->begin(request, job->task.get(), now);
  pumped(job, job->plain->pump(now));
}

void NetworkThread::pumped(const JobPtr& job, PlainExchange::Step step) {
  switch (step) {
    case PlainExchange::Step::kMore:
      return;
    case PlainExchange::Step::kDone: {
      const HttpOutcome outcome = job->plain->outcome();
      detach(*job);
      return attempt_done(job, outcome);
    }
    case PlainExchange::Step::kDead:
      job->on_new_connection = true;
      break;
    case PlainExchange::Step::kOther:
      job->through_curl = true;
      plain_ = plain_ && !job->plain->successful();  // its next bodies will look the same
      break;
  }
  detach(*job);
  MutexLock l(mu_);
  enqueue(job);
}

// Curl has made the connection; from here on it is ours.
void NetworkThread::connected(const JobPtr& job) {
  UniqueFd socket = job->handle->take_socket();
  release_handle(*job);
  const HttpRequest request = std::move(*job->request);
  job->request.reset();
  const auto origin = plain_origin(request.url);
  if (!socket || !origin) {
    detach(*job);
    return attempt_done(job, {Transport::kInternal, "no descriptor for a connection"});
  }
  begin_plain(job, std::make_unique<PlainExchange>(std::move(socket), *origin, options_), request);
}

void NetworkThread::release_handle(Job& job) {
  CURL* const easy = job.handle->get();
  curl_multi_remove_handle(multi_, easy);
  running_.erase(easy);
  idle_.push_back(std::move(job.handle));
}

void NetworkThread::detach(Job& job) {
  if (job.handle) release_handle(job);
  if (job.plain) {
    std::erase_if(exchanging_, [&](const JobPtr& j) { return j.get() == &job; });
    if (job.plain->reusable() && static_cast<int>(connections_.size()) < max_running_)
      connections_.push_back(std::move(job.plain));
    job.plain.reset();
  }
  if (job.counted_background) --running_background_;
  job.counted_background = false;
}

void NetworkThread::reap() {
  int left = 0;
  while (const CURLMsg* m = curl_multi_info_read(multi_, &left)) {
    if (m->msg != CURLMSG_DONE) continue;
    const CURLcode code = m->data.result;  // m dies with the handle's removal
    const auto it = running_.find(m->easy_handle);
    if (it == running_.end()) continue;
    const JobPtr job = it->second;
    if (code == CURLE_OK && job->request) {
      connected(job);
      continue;
    }
    const HttpOutcome outcome = job->handle->outcome(code);
    detach(*job);
    attempt_done(job, outcome);
  }
}

void NetworkThread::attempt_done(const JobPtr& job, const HttpOutcome& outcome) {
  job->on_new_connection = false;
  const int64_t delay_ms = job->task->on_attempt_done(outcome);
  if (delay_ms < 0) {
    finish(job);
    return;
  }
  MutexLock l(mu_);
  if (delay_ms == 0) {
    enqueue(job);
    return;
  }
  job->due_ms = now_ms() + delay_ms;
  job->place = Place::kDelayed;
  delayed_.push_back(job);
}

void NetworkThread::finish(const JobPtr& job) {
  {
    MutexLock l(mu_);
    jobs_.erase(job->id);
  }
  load_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace s3cache::s3
