// Options of the hidden tests that ask a real server; it is named by the environment.
#pragma once

#include <cstdlib>

#include "client_fixture.h"

namespace s3cache::s3 {

inline std::string env(const char* name, const char* fallback = "") {
  const char* v = std::getenv(name);
  return v == nullptr ? fallback : v;
}

inline S3Options live_options() {
  S3Options o;
  o.url = env("S3_URL");
  o.bucket = env("S3_BUCKET", "bkt");
  o.path_style = true;
  o.http.ca_bundle = env("S3_CA_BUNDLE");
  o.credentials = std::make_shared<StaticCredentials>(Credentials{env("S3_KEY_ID"), env("S3_SECRET")});
  o.http.network_threads = std::atoi(env("THREADS", "2").c_str());
  o.http.buffer_bytes = std::atol(env("BUFFER", "256").c_str()) * 1024;
  o.http.upload_bytes = std::atol(env("UPLOAD_BUFFER", "512").c_str()) * 1024;
  return o;
}

}  // namespace s3cache::s3
