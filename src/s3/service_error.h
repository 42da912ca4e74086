// ServiceError: everything known about one failed attempt, and what it means to callers and to the retry
// loop.
//
// Threads: values and pure functions. Errors: this is where HTTP and S3 codes become Code.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "s3/http_task.h"

namespace s3cache::s3 {

struct ServiceError {
  Transport transport = Transport::kOk;
  int status = 0;            // HTTP; 0: no answer
  std::string code = {};     // S3's, e.g. "NoSuchKey"; empty: no XML body (HEAD)
  std::string message = {};  // the server's or curl's words
  std::string region = {};   // the right one, when the server knows
  std::string request_id = {};
  std::string condition = {};  // which one failed, if the server says: "If-None-Match"
  int64_t server_date = 0;     // s
  int64_t retry_after_s = 0;   // the server's wish, 0: none

  // Asked again with the same words it may succeed.
  bool retryable() const;
  // The server may have done it all the same: the answer was lost, or the server failed in the middle.
  bool maybe_done() const;
  // The server does not take checksums in headers.
  bool refuses_checksum() const;
  // The body it got does not fit its digest.
  bool refuses_digest() const;
  // The server asks for less.
  bool slow_down() const;
  // The credentials ran out; the provider may have newer ones.
  bool expired_token() const;
  bool unknown_access_key() const;
  // Our clock and the server's are too far apart.
  bool clock_skewed(int64_t now_s) const;
  // The Code of a failed item of DeleteObjects.
  static Code code_of(std::string_view s3_code);
  // `what` names the request: "GET dir/file".
  Error to_error(std::string_view what) const;
};

}  // namespace s3cache::s3
