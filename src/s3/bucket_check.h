// The question before the mount: is this bucket there, and may we read it? The answer says what to do.
//
// Threads: blocks its caller (two attempts at most); not from a network thread.
#pragma once

#include <string>

#include "base/result.h"
#include "s3/s3_http_client.h"

namespace s3cache::s3 {

struct BucketCheck {
  // Ok, or one line that says what is wrong and the way out. kNotFound: no such bucket; kAccessDenied: keys
  // or rights; kInvalid: region or address; kUnavailable and kTimeout: network, TLS.
  Status status;
  bool prefix_exists =
      false;                 // something begins with the prefix; an empty bucket has none, which is no error
  std::string right_region;  // not empty: the server named the region to use instead
};

BucketCheck check_bucket(S3HttpClient& client, const std::string& prefix);

// The message for one failure; a function of its arguments, for tests.
Error explain_bucket_failure(const ServiceError& why, const S3Options& options, const Endpoint& endpoint,
                             const std::string& access_key);

}  // namespace s3cache::s3
