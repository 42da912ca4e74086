// Operation: what every S3 verb shares: signing each attempt anew, the error body, retries, clock skew, AIMD.
//
// Threads: as HttpTask. Owns: its request. The ClientContext is borrowed from S3HttpClient, which outlives
// it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/clock.h"
#include "s3/endpoint.h"
#include "s3/http_task.h"
#include "s3/options.h"
#include "s3/response_headers.h"
#include "s3/retry.h"
#include "s3/service_error.h"

namespace s3cache::s3 {

class HttpEngine;

// What the operations of one client share. Threads: any.
struct ClientContext {
  ClientContext(S3Options o, Endpoint e, const Clock& c);

  const S3Options options;
  const Endpoint endpoint;
  const Signer signer;
  const RetryPolicy policy;
  const Clock& clock;
  ParallelLimit limit;
  HttpEngine* engine = nullptr;            // set once, before the first operation
  std::atomic<int64_t> clock_offset_s{0};  // server's clock minus ours, once it complained
  std::atomic<bool> list_v2;
  // What the server turned out not to know; each stays false from then on.
  std::atomic<bool> checksums{true}, conditions{true}, delete_objects{true};
  std::atomic<uint64_t> gets{0}, heads{0}, lists{0}, retries{0}, errors{0}, bytes_received{0};
  std::atomic<uint64_t> puts{0}, copies{0}, uploads{0}, parts{0}, part_copies{0}, completes{0}, aborts{0};
  std::atomic<uint64_t> deletes{0}, batch_deletes{0}, upload_lists{0}, bytes_sent{0};
};

// One attempt's request before it is signed.
struct Attempt {
  Method method = Method::kGet;
  std::string key = {};  // empty: the bucket
  Query query = {};
  HeaderList headers = {};  // names in lower case; all of them are signed
  Body* body = nullptr;     // lives as long as the operation
  // Of the body, where it must be signed; empty: computed for each attempt, whose body may be another one.
  std::string sha256_hex = {};
  bool slow_answer = false;
};

class Operation : public HttpTask {
 public:
  Result<HttpRequest> build() final;
  bool on_header_line(std::string_view line) final;
  bool on_body(std::span<const std::byte> data) final;
  int64_t on_attempt_done(const HttpOutcome& outcome) final;
  void on_failed(Error error) final;

 protected:
  explicit Operation(ClientContext& context) : context_(context) {}

  enum class Next : uint8_t { kDone, kRetry, kRetryNow };

  // What makes the request impossible to send; checked before each attempt.
  virtual Status check() const { return {}; }
  // The verb's part. All of them see headers_ of the running attempt.
  virtual Attempt attempt() = 0;
  virtual std::string what() const = 0;
  // The header block of a 2xx is complete. False: the attempt ends here.
  virtual bool on_success_headers() { return true; }
  virtual bool on_success_body(std::span<const std::byte> data) = 0;
  // A 2xx answer ended; transport says how. kRetry counts as a failure of `why`.
  virtual Next on_success_end(Transport transport, ServiceError& why) = 0;
  // A request that failed for good, or was cancelled; delivers to the caller.
  virtual void deliver_error(Error error, const ServiceError& why) = 0;
  // A refusal that this verb can answer with another request (V1 instead of V2).
  virtual bool retry_differently(const ServiceError&) { return false; }
  // Enough came through since the last failure that earlier failures do not count.
  virtual bool progressed() { return false; }
  virtual int max_attempts() const { return context_.policy.attempts(); }

  ClientContext& context_;
  ResponseHeaders headers_;

 private:
  static constexpr size_t kMaxErrorBody = 64 * 1024;

  bool success() const { return headers_.status >= 200 && headers_.status < 300; }
  ServiceError service_error(const HttpOutcome& outcome) const;
  int64_t handle_failure(const ServiceError& why);
  Result<std::string> payload_hash(const Attempt& a);
  // Refusals that the next attempt avoids by itself, once each.
  bool correct_clock(const ServiceError& why);
  bool renew_credentials(const ServiceError& why);

  std::string error_body_;
  Body* body_ = nullptr;  // of the running attempt
  int failures_ = 0;
  bool skew_corrected_ = false;
  bool credentials_renewed_ = false;
  std::string access_key_used_;
};

}  // namespace s3cache::s3
