// CurlHandle: one pooled easy handle with everything set that does not change between requests.
//
// It keeps its receive buffer over its life (256 KiB); attach() sets what one request needs.
// Threads: of its network thread only. Owns: the handle and the header list of the running request.
#pragma once

#include <curl/curl.h>

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
  HttpOutcome outcome(CURLcode code) const;

 private:
  // The bounds of one answer's header block: S3's real ones are under 4 KiB.
  static constexpr size_t kMaxHeaderBytes = 64 * 1024;

  void set_connection_options(const HttpOptions& options);
  void set_tls_options(const HttpOptions& options);
  void set_method(const HttpRequest& request);
  static size_t on_header(char* data, size_t size, size_t n, void* self);
  static size_t on_write(char* data, size_t size, size_t n, void* self);
  static size_t on_read(char* out, size_t size, size_t n, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);

  CURL* easy_;
  curl_slist* headers_ = nullptr;
  HttpTask* task_ = nullptr;
  std::span<const std::byte> body_;
  size_t body_at_ = 0;
  size_t header_bytes_ = 0;
  char error_[CURL_ERROR_SIZE] = {};
};

}  // namespace s3cache::s3
