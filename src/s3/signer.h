// Signature Version 4 by the rules of S3: the path is encoded once, '/' stays, dot segments stay.
//
// sign() is a function of its arguments alone; the class only keeps the key derived for the current day and
// secret (four HMACs saved a request). Threads: every method from any thread. Errors: none. Units: UNIX
// seconds.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "s3/credentials.h"

namespace s3cache::s3 {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

inline constexpr char kUnsignedPayload[] = "UNSIGNED-PAYLOAD";
inline constexpr char kEmptySha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string sha256_hex(std::string_view data);

struct SignRequest {
  std::string method = {};
  std::string canonical_uri = {};           // percent-encoded
  std::string query = {};                   // canonical_query()
  HeaderList headers = {};                  // to be signed, names in lower case, host included
  std::string payload_hash = kEmptySha256;  // or kUnsignedPayload
};

class Signer {
 public:
  explicit Signer(std::string region, std::string service = "s3");

  // The headers to add to those of the request: x-amz-content-sha256, x-amz-date, x-amz-security-token,
  // authorization. Nothing for anonymous credentials.
  HeaderList sign(const SignRequest& request, const Credentials& credentials, int64_t now_s) const;

 private:
  std::string day_key(const Credentials& credentials, const std::string& day) const;

  const std::string region_;
  const std::string service_;
  mutable Mutex mu_;
  mutable std::string cached_secret_ GUARDED_BY(mu_);
  mutable std::string cached_day_ GUARDED_BY(mu_);
  mutable std::string cached_key_ GUARDED_BY(mu_);
};

}  // namespace s3cache::s3
