// What an S3 client needs to know: a plain struct with defaults; app fills it from the mount's options.
// Threads: a value. Units are in the names.
#pragma once

#include <memory>
#include <string>

#include "s3/credentials.h"

namespace s3cache::s3 {

enum class IpResolve : uint8_t { kAny, kV4, kV6 };

// Of one HTTP engine.
struct HttpOptions {
  int network_threads = 0;        // 0: two, or one on fewer than four processors
  int max_connections = 64;       // of all threads together
  int connect_timeout_s = 300;    // as s3fs
  int readwrite_timeout_s = 120;  // as s3fs: no progress for that long fails the attempt
  bool verify_peer = true;        // no_check_certificate turns it off
  bool verify_host = true;        // ssl_verify_hostname
  std::string ca_bundle = {};     // a file; empty: the system's
  std::string client_cert = {};
  std::string client_cert_type = {};
  std::string client_key = {};
  std::string client_key_type = {};
  std::string client_key_password = {};
  std::string cipher_suites = {};
  std::string proxy = {};  // empty: http_proxy and friends of the environment
  std::string proxy_user_password = {};
  IpResolve ip_resolve = IpResolve::kAny;
  std::string user_agent = "s3cache";  // empty: none is sent (noua)
  long buffer_bytes = 256 * 1024;      // curl's receive buffer: one recv of this size a round
  long upload_bytes = 512 * 1024;      // and its send buffer
};

struct S3Options {
  HttpOptions http = {};
  std::string url = "https://s3.amazonaws.com";
  std::string bucket = {};
  std::string region = "us-east-1";
  bool path_style = false;
  std::shared_ptr<CredentialsProvider> credentials = std::make_shared<AnonymousCredentials>();
  int retries = 5;             // attempts in all, as s3fs counts them
  int64_t retry_base_ms = 50;  // first delay's bound; doubles up to 20 s
  bool requester_pays = false;
  bool unsigned_payload = false;  // over http too; over https it is the rule
  bool list_v2 = true;            // false: ListObjects V1 from the start
};

}  // namespace s3cache::s3
