// WriteOperation and WrittenOperation: what the writing verbs share.
//
// An answer is kept up to a bound; an <Error> behind a 200 is the failure it says. Checksums and conditions
// that the server turns out not to know are remembered in the ClientContext. A write whose answer was lost
// may have been done: when its repetition is refused, the object is looked at (HEAD), and if it is what the
// write makes, that was success. Threads: as HttpTask. Errors: those of S3Client's writing verbs.
#pragma once

#include <optional>
#include <string>

#include "s3/operation.h"
#include "s3/write_requests.h"

namespace s3cache::s3 {

// kInvalid for names and values that would break the request.
Status check_headers(const SentHeaders& headers);

class WriteOperation : public Operation {
 protected:
  explicit WriteOperation(ClientContext& context, size_t max_answer = 64 * 1024)
      : Operation(context), max_answer_(max_answer) {}

  Attempt attempt() override;
  bool on_success_body(std::span<const std::byte> data) override;
  Next on_success_end(Transport transport, ServiceError& why) override;
  bool retry_differently(const ServiceError& why) override;

  // The verb's part: the request, and the end of a 2xx answer that came whole and is no <Error>.
  virtual Attempt request() = 0;
  virtual Next finish(ServiceError& why) = 0;
  // Counts and delivers an answer that makes no sense.
  Next fail_corrupt(std::string message);

  // For request(): true if checksums may be sent; then a refusal leads to an attempt without.
  bool use_checksum(bool wanted);
  bool checksum_sent() const { return checksum_sent_; }
  const std::string& answer() const { return answer_; }

 private:
  const size_t max_answer_;
  std::string answer_;
  bool too_long_ = false;
  bool checksum_sent_ = false;
  bool without_checksum_ = false;
};

// What a write demands of the object it replaces.
struct WriteCondition {
  bool if_none_match = false;
  std::string if_match = {};

  bool any() const { return if_none_match || !if_match.empty(); }
  void add_to(HeaderList& headers) const;
};

// The verbs that answer Written.
class WrittenOperation : public WriteOperation {
 protected:
  WrittenOperation(ClientContext& context, std::string key, WriteCondition condition, WrittenCallback done);

  Status check() const override;
  Attempt attempt() final;
  Next on_success_end(Transport transport, ServiceError& why) final;
  bool retry_differently(const ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;

  virtual const SentHeaders& sent_headers() const;
  // The object this write makes; an Error that says why it cannot be told.
  virtual Result<std::string> expected_etag() = 0;
  // A repetition of a write that was done is refused like this.
  virtual bool refused_as_repeated(const ServiceError& why) const;
  // `condition` is about the object that is written, not about a source.
  virtual bool own_condition_failed(const ServiceError& why) const;

  void deliver(Written written) { done_(std::move(written)); }
  Written from_headers() const;
  const std::string& key() const { return key_; }
  const WriteCondition& condition() const { return condition_; }

 private:
  bool look_first(const ServiceError& why);
  Error refusal(const ServiceError& why) const;
  void remember_condition_refused(const ServiceError& why);

  const std::string key_;
  const WriteCondition condition_;
  const WrittenCallback done_;
  bool maybe_done_ = false;
  std::optional<Error> refusal_;  // while the object is looked at
  std::string expected_;
};

}  // namespace s3cache::s3
