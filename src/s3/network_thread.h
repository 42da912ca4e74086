// NetworkThread: one curl multi, its queues and the loop that feeds it.
//
// A job is always in exactly one place: a ready queue, the delayed list (waiting for its next attempt), or
// running. Threads: public methods from any thread; the rest on the thread itself. Callbacks of tasks run
// without mu_. Owns: the multi, its handles, a reference to each task.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/sync.h"
#include "s3/curl_handle.h"
#include "s3/http_task.h"
#include "s3/options.h"
#include "s3/plain_exchange.h"

namespace s3cache::s3 {

class NetworkThread {
 public:
  NetworkThread(const HttpOptions& options, int number, int max_running);
  ~NetworkThread();

  void submit(RequestId id, std::shared_ptr<HttpTask> task, Priority priority);
  void cancel(RequestId id);
  void promote(RequestId id);
  void set_limit(int n);
  // Tasks that are not over yet; a hint for balancing.
  size_t load() const { return load_.load(std::memory_order_relaxed); }
  void stop();
  void join();

 private:
  enum class Place : uint8_t { kReady, kDelayed, kRunning };
  struct Job {
    RequestId id = 0;
    std::shared_ptr<HttpTask> task;
    Priority priority = Priority::kForeground;  // guarded by mu_
    Place place = Place::kReady;                // guarded by mu_
    bool cancelled = false;                     // guarded by mu_
    bool counted_background = false;            // of running_background_
    int64_t due_ms = 0;
    // While running: a transfer of curl's, or a connection it makes for `request`, or an exchange of ours.
    std::unique_ptr<CurlHandle> handle;
    std::optional<HttpRequest> request;
    std::unique_ptr<PlainExchange> plain;
    bool through_curl = false;  // its answer was none for a PlainExchange
    bool on_new_connection = false;
  };
  using JobPtr = std::shared_ptr<Job>;

  void run();
  void wake() REQUIRES(mu_);
  // True: the caller calls curl_multi_wakeup(), best without the lock that the thread takes first of all.
  bool claim_wake() REQUIRES(mu_);
  void collect_cancelled(std::vector<JobPtr>& out) REQUIRES(mu_);
  void collect_due() REQUIRES(mu_);
  void end_cancelled(const std::vector<JobPtr>& jobs);
  void start_ready() EXCLUDES(mu_);
  // Whether a slot is free for the next job of this priority.
  bool has_slot(Priority priority) REQUIRES(mu_);
  JobPtr next_ready() REQUIRES(mu_);
  void enqueue(const JobPtr& job) REQUIRES(mu_);
  void start(const JobPtr& job);
  bool start_plain(const JobPtr& job, HttpRequest& request);
  void begin_plain(const JobPtr& job, std::unique_ptr<PlainExchange> exchange, const HttpRequest& request);
  void pumped(const JobPtr& job, PlainExchange::Step step);
  void poll();
  void reap();
  void connected(const JobPtr& job);
  void release_handle(Job& job);
  void detach(Job& job);
  void attempt_done(const JobPtr& job, const HttpOutcome& outcome);
  void finish(const JobPtr& job) EXCLUDES(mu_);
  int poll_timeout_ms() EXCLUDES(mu_);

  const HttpOptions options_;
  const int number_;
  const int max_running_;
  CURLM* const multi_;
  std::atomic<size_t> load_{0};

  // Of the thread itself.
  std::vector<std::unique_ptr<CurlHandle>> idle_;
  std::unordered_map<CURL*, JobPtr> running_;
  std::vector<JobPtr> exchanging_;                           // running too, by a PlainExchange
  std::vector<std::unique_ptr<PlainExchange>> connections_;  // idle ones
  std::vector<curl_waitfd> waits_;
  std::vector<JobPtr> polled_;
  bool plain_ = true;  // false: a proxy, or a server that frames its answers in another way
  int running_background_ = 0;

  Mutex mu_;
  std::unordered_map<RequestId, JobPtr> jobs_ GUARDED_BY(mu_);
  std::deque<JobPtr> foreground_ GUARDED_BY(mu_);
  std::deque<JobPtr> background_ GUARDED_BY(mu_);
  std::vector<JobPtr> delayed_ GUARDED_BY(mu_);
  std::vector<JobPtr> to_cancel_ GUARDED_BY(mu_);
  int limit_ GUARDED_BY(mu_);
  bool woken_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace s3cache::s3
