// Synchronous helpers over S3Client for tests: they wait for the callback (30 s at most, then the test
// fails).
#pragma once

#include <catch2/catch.hpp>
#include <future>
#include <string>

#include "base/sync.h"
#include "s3/s3_client.h"

namespace s3cache::s3 {

struct Got {
  ObjectInfo info;
  std::string text;
  Status status;
  int headers_seen = 0;
  bool offsets_ok = true;  // on_data's offsets neither repeated nor jumped
};

class CollectSink : public GetSink {
 public:
  explicit CollectSink(int64_t offset = 0) : next_(offset) {}

  bool on_headers(const ObjectInfo& info) override {
    MutexLock l(mu_);
    got_.info = info;
    ++got_.headers_seen;
    changed_.notify_all();
    return true;
  }
  bool on_data(int64_t offset, std::span<const std::byte> data) override {
    MutexLock l(mu_);
    if (offset != next_) got_.offsets_ok = false;
    next_ = offset + static_cast<int64_t>(data.size());
    got_.text.append(reinterpret_cast<const char*>(data.data()), data.size());
    changed_.notify_all();
    return true;
  }
  void on_done(Status status) override {
    MutexLock l(mu_);
    got_.status = std::move(status);
    ++done_;
    changed_.notify_all();
  }

  Got got() {
    MutexLock l(mu_);
    return got_;
  }
  bool wait_headers() {
    MutexLock l(mu_);
    while (got_.headers_seen == 0)
      if (!changed_.wait_for(mu_, kLimit)) return false;
    return true;
  }
  bool wait_bytes(size_t n) {
    MutexLock l(mu_);
    while (got_.text.size() < n)
      if (!changed_.wait_for(mu_, kLimit)) return false;
    return true;
  }
  Got wait() {
    MutexLock l(mu_);
    while (done_ == 0) {
      if (!changed_.wait_for(mu_, kLimit)) {
        got_.status = Error{Code::kTimeout, "the test waited in vain"};
        break;
      }
    }
    return got_;
  }

 private:
  static constexpr std::chrono::milliseconds kLimit{30'000};
  Mutex mu_;
  CondVar changed_;
  Got got_ GUARDED_BY(mu_);
  int64_t next_ GUARDED_BY(mu_);
  int done_ GUARDED_BY(mu_) = 0;
};

inline Got get(S3Client& s3, GetRequest r) {
  auto sink = std::make_shared<CollectSink>(r.offset);
  s3.get(std::move(r), sink);
  return sink->wait();
}

template <class T>
Result<T> wait_for(std::future<Result<T>> f) {
  if (f.wait_for(std::chrono::seconds(30)) != std::future_status::ready)
    return Error{Code::kTimeout, "the test waited in vain"};
  return f.get();
}

inline Result<ObjectInfo> head(S3Client& s3, std::string key) {
  auto p = std::make_shared<std::promise<Result<ObjectInfo>>>();
  auto f = p->get_future();
  s3.head(std::move(key), Priority::kForeground, [p](Result<ObjectInfo> r) { p->set_value(std::move(r)); });
  return wait_for(std::move(f));
}

inline Result<ListPage> list(S3Client& s3, ListRequest r) {
  auto p = std::make_shared<std::promise<Result<ListPage>>>();
  auto f = p->get_future();
  s3.list(std::move(r), [p](Result<ListPage> page) { p->set_value(std::move(page)); });
  return wait_for(std::move(f));
}

}  // namespace s3cache::s3
