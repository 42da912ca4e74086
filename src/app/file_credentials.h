// FileCredentials: the keys of config's files, as the signer wants them.
// Threads: any. Owns: the files' watcher.
#pragma once

#include <memory>

#include "config/credentials_files.h"
#include "s3/credentials.h"

namespace s3cache::app {

class FileCredentials : public s3::CredentialsProvider {
 public:
  // REQUIRES: files->load() was ok.
  explicit FileCredentials(std::shared_ptr<config::CredentialsFiles> files) : files_(std::move(files)) {}

  Result<s3::Credentials> get() override {
    config::Keys keys = files_->current();
    s3::Credentials credentials;
    credentials.access_key = std::move(keys.access_key);
    credentials.secret_key = std::move(keys.secret_key);
    credentials.session_token = std::move(keys.session_token);
    return credentials;
  }

 private:
  const std::shared_ptr<config::CredentialsFiles> files_;
};

}  // namespace s3cache::app
