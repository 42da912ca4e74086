// FailingTask: ends as soon as it is started. Requests that cannot be said to a server still complete through
// their callback, on a network thread. Threads: as HttpTask.
#pragma once

#include <functional>

#include "s3/http_task.h"

namespace s3cache::s3 {

class FailingTask : public HttpTask {
 public:
  FailingTask(Error error, std::function<void(Error)> done)
      : error_(std::move(error)), done_(std::move(done)) {}
  Result<HttpRequest> build() override { return error_; }
  bool on_header_line(std::string_view) override { return false; }
  bool on_body(std::span<const std::byte>) override { return false; }
  int64_t on_attempt_done(const HttpOutcome&) override { return -1; }
  void on_failed(Error error) override { done_(std::move(error)); }

 private:
  const Error error_;
  const std::function<void(Error)> done_;
};

}  // namespace s3cache::s3
