// CredentialsFiles: where the keys of a mount come from, in s3fs's order, and read again when their file
// changes.
//
// Order: passwd_file=, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, $AWS_CREDENTIAL_FILE, the profile in
// $AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, ~/.passwd-s3fs, /etc/passwd-s3fs. The first that exists
// decides; its mistakes are errors, not a reason to try the next. Threads: load() once at start; current()
// from any thread (one stat(2) a call). Errors: kInvalid, kAccessDenied, kNotFound; file names and line
// numbers, never a secret.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.h"
#include "base/sync.h"
#include "config/environment.h"
#include "config/passwd_file.h"

namespace s3cache::config {

struct CredentialsQuery {
  std::string bucket = {};
  std::string passwd_file = {};  // absolute; empty: not given
  std::string profile = "default";
  bool use_session_token = false;
};

class CredentialsFiles {
 public:
  CredentialsFiles(CredentialsQuery query, Environment env)
      : query_(std::move(query)), env_(std::move(env)) {}

  // Walks the order and remembers the keys and the file they came from.
  Result<Keys> load() EXCLUDES(mu_);

  // The keys as their file has them now. A file that has become unreadable or malformed leaves the last good
  // keys in force, with one log line. REQUIRES: load() was ok.
  Keys current() EXCLUDES(mu_);

 private:
  // Tells one content of a file from the next, as far as stat(2) can.
  struct Stamp {
    dev_t dev = 0;
    ino_t ino = 0;
    off_t size = 0;
    timespec mtime{};
    bool operator==(const Stamp& o) const;
  };
  enum class Kind { kNone, kPasswd, kSystemPasswd, kAws };

  Result<Keys> find() REQUIRES(mu_);
  Result<Keys> from_environment() REQUIRES(mu_);
  // Reads one file of a kind and makes it the watched one. kNotFound: no such file, or no such profile.
  Result<Keys> from_file(Kind kind, const std::string& path) REQUIRES(mu_);
  static Stamp stamp_of(const struct stat& st);

  const CredentialsQuery query_;
  const Environment env_;

  Mutex mu_;
  Keys keys_ GUARDED_BY(mu_);
  Kind kind_ GUARDED_BY(mu_) = Kind::kNone;
  std::string path_ GUARDED_BY(mu_);
  Stamp stamp_ GUARDED_BY(mu_);
};

// The one USER:PASSWORD line of a proxy_cred_file, under the same rules as a password file.
Result<std::string> load_proxy_credentials(const std::string& path);

}  // namespace s3cache::config
