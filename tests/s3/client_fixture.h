// Options and a client against a HostileServer, with delays short enough for unit tests.
#pragma once

#include "collect.h"
#include "hostile_server.h"
#include "s3/s3_http_client.h"

namespace s3cache::s3 {

inline S3Options test_options(const std::string& url) {
  S3Options o;
  o.url = url;
  o.bucket = "bkt";
  o.path_style = true;
  o.http.network_threads = 1;
  o.http.readwrite_timeout_s = 20;
  o.retries = 3;
  o.retry_base_ms = 1;
  o.credentials = std::make_shared<StaticCredentials>(Credentials{"AKIDEXAMPLE", "secret"});
  return o;
}

inline std::unique_ptr<S3HttpClient> make_client(S3Options o, const Clock& clock = Clock::real()) {
  auto c = S3HttpClient::create(std::move(o), clock);
  REQUIRE(c.ok());
  return std::move(*c);
}

inline std::unique_ptr<S3HttpClient> make_client(const HostileServer& server) {
  return make_client(test_options(server.url()));
}

// The value of a request's header, "" if absent. REQUIRES: name in lower case.
inline std::string request_header(const std::string& request, const std::string& name) {
  size_t at = request.find("\r\n");
  while (at != std::string::npos && at + 2 < request.size()) {
    const size_t end = request.find("\r\n", at + 2);
    std::string line = request.substr(at + 2, end - at - 2);
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
      std::string n = line.substr(0, colon);
      std::transform(n.begin(), n.end(), n.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
      if (n == name) return line.substr(std::min(colon + 2, line.size()));
    }
    at = end;
  }
  return "";
}

}  // namespace s3cache::s3
