#include "s3/http_engine.h"

#include <curl/curl.h>

#include <algorithm>
#include <thread>

#include "s3/network_thread.h"

namespace s3cache::s3 {

HttpEngine::HttpEngine(const HttpOptions& options) {
  // Thread-safe since 7.84 and counted, so once an engine is fine.
  curl_global_init(CURL_GLOBAL_DEFAULT);
  // On two processors a second one only means more wake-ups: 3 to 4 % of a cold epoch of small files.
  const int usual = std::thread::hardware_concurrency() < 4 ? 1 : 2;
  const int threads = options.network_threads > 0 ? std::min(options.network_threads, 64) : usual;
  const int each = std::max(1, (options.max_connections + threads - 1) / threads);
  for (int i = 0; i < threads; ++i) threads_.push_back(std::make_unique<NetworkThread>(options, i, each));
}

HttpEngine::~HttpEngine() {
  shutdown();
  threads_.clear();
  curl_global_cleanup();
}

RequestId HttpEngine::submit(std::shared_ptr<HttpTask> task, Priority priority) {
  size_t best = 0;
  for (size_t i = 1; i < threads_.size(); ++i)
    if (threads_[i]->load() < threads_[best]->load()) best = i;
  // The thread's number is part of the id, so that cancel() and promote() find it without a table.
  const RequestId id = next_.fetch_add(1, std::memory_order_relaxed) * threads_.size() + best;
  threads_[best]->submit(id, std::move(task), priority);
  return id;
}

void HttpEngine::cancel(RequestId id) { threads_[id % threads_.size()]->cancel(id); }

void HttpEngine::promote(RequestId id) { threads_[id % threads_.size()]->promote(id); }

void HttpEngine::set_parallelism(int n) {
  const int threads = static_cast<int>(threads_.size());
  for (const auto& t : threads_) t->set_limit(std::max(1, n / threads));
}

void HttpEngine::shutdown() {
  for (const auto& t : threads_) t->stop();
  for (const auto& t : threads_) t->join();
}

}  // namespace s3cache::s3
