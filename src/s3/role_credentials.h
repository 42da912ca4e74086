// RoleCredentials: keys from the machine's role (EC2 instance metadata) or the container's (ECS), renewed in
// time.
//
// create() asks once, so that a mount without a role fails at its start. A thread of its own renews 5 minutes
// before the keys expire and tries again every 30 s while that fails; the old keys serve until they really
// expire. Threads: get() from any thread, at once. Owns: its thread. Errors: kAccessDenied (no role, expired
// keys), kUnavailable (no metadata service), kCorrupt (an answer that is none). Units: seconds.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/sync.h"
#include "s3/credentials.h"

namespace s3cache::s3 {

struct RoleOptions {
  bool container = false;  // ecs
  std::string role = {};   // iam_role=NAME; empty: the service names it
  bool v1_only = false;    // imdsv1only; otherwise v2, and v1 where the service does not know v2
  // Container: $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.
  std::string container_path = {};
  // $AWS_CONTAINER_AUTHORIZATION_TOKEN; the file, which is read each time, wins.
  std::string container_token = {};
  std::string container_token_file = {};
  std::string instance_url = "http://169.254.169.254";
  std::string container_url = "http://169.254.170.2";
};

class RoleCredentials : public CredentialsProvider {
 public:
  static Result<std::unique_ptr<RoleCredentials>> create(RoleOptions options,
                                                         const Clock& clock = Clock::real());
  ~RoleCredentials() override;

  Result<Credentials> get() override;

 private:
  RoleCredentials(RoleOptions options, const Clock& clock, Credentials first);
  void run();
  int64_t renewal_due_s(bool failed) REQUIRES(mu_);

  const RoleOptions options_;
  const Clock& clock_;
  Mutex mu_;
  CondVar changed_;
  Credentials current_ GUARDED_BY(mu_);
  int64_t asked_at_s_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

// One exchange with the metadata service; blocks for some seconds at most.
Result<Credentials> fetch_role_credentials(const RoleOptions& options);

}  // namespace s3cache::s3
