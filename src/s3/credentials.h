// Credentials and where they come from: the seam between the signer and files, environment or instance roles.
//
// Threads: get() from any thread, also from network threads while a request is signed, so it must answer at
// once (a provider that has to ask a server refreshes ahead of expiry on a thread of its own). Errors:
// kAccessDenied when there are none, with a message that says where they were looked for.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace s3cache::s3 {

struct Credentials {
  std::string access_key = {};
  std::string secret_key = {};
  std::string session_token = {};
  int64_t expiry = 0;  // UNIX seconds, 0: never

  // public_bucket: requests go out unsigned.
  bool anonymous() const { return access_key.empty(); }
};

class CredentialsProvider {
 public:
  virtual ~CredentialsProvider() = default;
  virtual Result<Credentials> get() = 0;
};

class StaticCredentials : public CredentialsProvider {
 public:
  explicit StaticCredentials(Credentials c) : c_(std::move(c)) {}
  Result<Credentials> get() override { return c_; }

 private:
  const Credentials c_;
};

class AnonymousCredentials : public CredentialsProvider {
 public:
  Result<Credentials> get() override { return Credentials{}; }
};

}  // namespace s3cache::s3
