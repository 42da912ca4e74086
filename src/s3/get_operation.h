// GetOperation and HeadOperation: the object verbs.
//
// A GET insists on one version from its first byte to its last: a resumed attempt carries If-Match, and the
// answer's range, length, ETag and total size are checked against the request and against the first answer.
// Threads: as HttpTask. Errors: those of S3Client::get and head.
#pragma once

#include <memory>
#include <optional>

#include "s3/direct_sink.h"
#include "s3/operation.h"
#include "s3/s3_client.h"

namespace s3cache::s3 {

class GetOperation : public Operation {
 public:
  GetOperation(ClientContext& context, GetRequest request, std::shared_ptr<GetSink> sink);
  bool in_place() const override { return true; }
  std::span<std::byte> body_space() override;

 protected:
  Attempt attempt() override;
  std::string what() const override;
  bool on_success_headers() override;
  bool on_success_body(std::span<const std::byte> data) override;
  Next on_success_end(Transport transport, ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;
  bool progressed() override;

 private:
  // The range the answer claims to carry, or why it is not ours.
  Result<ContentRange> answered_range() const;
  Status check_version(int64_t total) const;
  bool fail(Error error);

  const GetRequest request_;
  const std::shared_ptr<GetSink> sink_;
  DirectSink* const direct_;        // the sink, if it is one
  std::optional<ObjectInfo> info_;  // of the first good answer
  int64_t next_;                    // the next byte to deliver
  int64_t end_ = 0;                 // one past the last; valid once info_ is
  int64_t progress_mark_ = 0;
  std::optional<Error> final_;  // decided in a header or body callback
};

class HeadOperation : public Operation {
 public:
  HeadOperation(ClientContext& context, std::string key, HeadCallback done);

 protected:
  Attempt attempt() override;
  std::string what() const override;
  bool on_success_body(std::span<const std::byte>) override { return true; }
  Next on_success_end(Transport transport, ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;

 private:
  const std::string key_;
  const HeadCallback done_;
};

}  // namespace s3cache::s3
