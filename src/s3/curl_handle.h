// CurlHandle: one pooled easy handle with everything set that does not change between requests.
//
// It keeps its buffers over its life (256 KiB to receive, 512 KiB to send once it uploads); attach() sets
// what one request needs. Threads: of its network thread only. Owns: the handle and the header list of the
// running request.
#pragma once

#include <curl/curl.h>

#include "base/unique_fd.h"
#include "s3/http_task.h"
#include "s3/options.h"

namespace s3cache::s3 {

class CurlHandle {
 public:
  explicit CurlHandle(const HttpOptions& options);
  ~CurlHandle();
  CurlHandle(const CurlHandle&) = delete;
  CurlHandle& operator=(const CurlHandle&) = delete;

  CURL* get() const { return easy_; }
  // Prepares one attempt; the task receives its headers and body.
  void attach(const HttpRequest& request, HttpTask* task);
  // Prepares a connection to the request's server and nothing else.
  void attach_connect(const HttpRequest& request);
  // Of the connection that attach_connect() made, for good: curl may close its own. Empty: it failed.
  UniqueFd take_socket();
  HttpOutcome outcome(CURLcode code) const;

 private:
  // The bounds of one answer's header block: S3's real ones are under 4 KiB.
  static constexpr size_t kMaxHeaderBytes = 64 * 1024;

  void set_connection_options(const HttpOptions& options);
  void set_tls_options(const HttpOptions& options);
  void set_method(const HttpRequest& request);
  void set_patience(bool slow_answer);
  static size_t on_header(char* data, size_t size, size_t n, void* self);
  static size_t on_write(char* data, size_t size, size_t n, void* self);
  static size_t on_read(char* out, size_t size, size_t n, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);

  CURL* easy_;
  curl_slist* headers_ = nullptr;
  HttpTask* task_ = nullptr;
  const long patience_s_;
  Body* body_ = nullptr;
  int64_t body_at_ = 0;
  std::optional<Error> body_error_;
  size_t header_bytes_ = 0;
  char error_[CURL_ERROR_SIZE] = {};
};

}  // namespace s3cache::s3
