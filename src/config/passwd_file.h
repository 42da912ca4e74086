// The two key files people have: s3fs's password file and ~/.aws/credentials. Text in, keys out; no file is
// opened here.
//
// Threads: pure functions. Errors: kInvalid with the file and the line's number; never any of the line's
// text, which may be a secret.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace s3cache::config {

struct Keys {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty: none
  std::string source;         // for the log: a file, a file and profile, "environment"
};

// KEY:SECRET, BUCKET:KEY:SECRET (wins for its bucket), or AWSAccessKeyId= and AWSSecretKey= lines. kNotFound:
// well formed, but no line is for this bucket.
Result<Keys> parse_passwd_file(const std::string& path, const std::string& text, const std::string& bucket);

// s3fs's rule: others nothing, group nothing (the system's file: not write), nobody execute.
Status check_passwd_mode(const std::string& path, mode_t mode, bool system_file);

// The section [profile]; nullopt if there is none. A section without both keys is an error.
Result<std::optional<Keys>> parse_aws_credentials(const std::string& path, const std::string& text,
                                                  const std::string& profile);

}  // namespace s3cache::config
