// HttpTask: one HTTP request as the engine sees it; the S3 verbs implement it.
//
// Threads: every method runs on one network thread of the engine, never two at a time, never under a lock;
// they must not block. Order of one attempt: build, then on_header_line and on_body as bytes come, then
// on_attempt_done, which ends the task or asks for another attempt. on_failed ends it instead, between
// attempts or during one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "s3/body.h"
#include "s3/s3_client.h"
#include "s3/signer.h"

namespace s3cache::s3 {

enum class Method : uint8_t { kGet, kHead, kPut, kPost, kDelete };

struct HttpRequest {
  Method method = Method::kGet;
  std::string url = {};
  HeaderList headers = {};
  // Borrowed until on_attempt_done or on_failed; null: none. Its size is the Content-Length.
  Body* body = nullptr;
  // The server may work for minutes before it answers, with a blank now and then as a sign of life.
  bool slow_answer = false;
};

// How the exchange itself went, whatever the HTTP status says.
enum class Transport : uint8_t {
  kOk,
  kRefusedByTask,  // on_header_line or on_body gave false
  kUnreachable,    // name not found, connection refused, proxy
  kReset,          // broken in the middle, also a body shorter than its Content-Length
  kTimeout,        // connect or progress deadline
  kTls,            // the certificate or the handshake
  kBadAnswer,      // not HTTP
  kInternal,       // out of memory, a URL curl refuses
};

struct HttpOutcome {
  Transport transport = Transport::kOk;
  std::string message = {};  // curl's words; empty for kOk
  // What Body::read gave when that ended the attempt.
  std::optional<Error> body_error = {};
  int64_t bytes_sent = 0;  // of the body
};

class HttpTask {
 public:
  virtual ~HttpTask() = default;
  // An Error ends the task without a request; on_failed gets it.
  virtual Result<HttpRequest> build() = 0;
  virtual bool on_header_line(std::string_view line) = 0;
  virtual bool on_body(std::span<const std::byte> data) = 0;
  // A plain GET whose body may be long: worth a connection that receives it in place.
  virtual bool in_place() const { return false; }
  // Where the next bytes of the body belong; on_body then gets them from there. Empty: anywhere.
  virtual std::span<std::byte> body_space() { return {}; }
  // Milliseconds until the next attempt, negative: the task is over.
  virtual int64_t on_attempt_done(const HttpOutcome& outcome) = 0;
  // The task is over: build() failed, it was cancelled, or the engine stops.
  virtual void on_failed(Error error) = 0;
};

}  // namespace s3cache::s3
