#include "s3/curl_handle.h"

#include <fcntl.h>

#include <algorithm>

namespace s3cache::s3 {

namespace {

// Below this for readwrite_timeout seconds counts as no progress. Not 1 byte/s: a dripping server would hold
// its slot for ever; not 1 KiB/s: 64 transfers may share a thin line.
constexpr long kLowSpeedBytes = 256;
// Servers put the parts of a large upload together before they answer.
constexpr long kSlowAnswerFactor = 5;

void set_string(CURL* easy, CURLoption option, const std::string& value) {
  if (!value.empty()) curl_easy_setopt(easy, option, value.c_str());
}

Transport classify(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return Transport::kOk;
    case CURLE_WRITE_ERROR:
    case CURLE_ABORTED_BY_CALLBACK:
      return Transport::kRefusedByTask;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
      return Transport::kUnreachable;
    case CURLE_OPERATION_TIMEDOUT:
      return Transport::kTimeout;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_NOTFOUND:
      return Transport::kTls;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
      return Transport::kBadAnswer;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_FAILED_INIT:
      return Transport::kInternal;
    default:
      return Transport::kReset;
  }
}

}  // namespace

CurlHandle::CurlHandle(const HttpOptions& options)
    : easy_(curl_easy_init()), patience_s_(options.readwrite_timeout_s) {
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, error_);
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &CurlHandle::on_header);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &CurlHandle::on_write);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_READFUNCTION, &CurlHandle::on_read);
  curl_easy_setopt(easy_, CURLOPT_READDATA, this);
  curl_easy_setopt(easy_, CURLOPT_SEEKFUNCTION, &CurlHandle::on_seek);
  curl_easy_setopt(easy_, CURLOPT_SEEKDATA, this);
  set_connection_options(options);
  set_tls_options(options);
}

CurlHandle::~CurlHandle() {
  curl_easy_cleanup(easy_);
  curl_slist_free_all(headers_);
}

void CurlHandle::set_connection_options(const HttpOptions& o) {
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy_, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);  // a proxy's 200 is not the answer
  curl_easy_setopt(easy_, CURLOPT_PATH_AS_IS, 1L);                // "a/../b" is a key, not a path to tidy
  curl_easy_setopt(easy_, CURLOPT_BUFFERSIZE, o.buffer_bytes);
  curl_easy_setopt(easy_, CURLOPT_UPLOAD_BUFFERSIZE, o.upload_bytes);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPIDLE, 15L);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPINTVL, 15L);
  // S3 closes idle connections sooner than curl's 118 s; reusing a dead one costs a round trip.
  curl_easy_setopt(easy_, CURLOPT_MAXAGE_CONN, 15L);
  // Spreads over the front ends behind one name: addresses shuffled, connections renewed every 5 minutes.
  curl_easy_setopt(easy_, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
  curl_easy_setopt(easy_, CURLOPT_MAXLIFETIME_CONN, 300L);
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT, static_cast<long>(o.connect_timeout_s));
  if (o.ip_resolve == IpResolve::kV4)
    curl_easy_setopt(easy_, CURLOPT_IPRESOLVE, static_cast<long>(CURL_IPRESOLVE_V4));
  if (o.ip_resolve == IpResolve::kV6)
    curl_easy_setopt(easy_, CURLOPT_IPRESOLVE, static_cast<long>(CURL_IPRESOLVE_V6));
  set_string(easy_, CURLOPT_PROXY, o.proxy);
  set_string(easy_, CURLOPT_PROXYUSERPWD, o.proxy_user_password);
  set_string(easy_, CURLOPT_USERAGENT, o.user_agent);
}

void CurlHandle::set_tls_options(const HttpOptions& o) {
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYPEER, o.verify_peer ? 1L : 0L);
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYHOST, o.verify_peer && o.verify_host ? 2L : 0L);
  set_string(easy_, CURLOPT_CAINFO, o.ca_bundle);
  set_string(easy_, CURLOPT_SSLCERT, o.client_cert);
  set_string(easy_, CURLOPT_SSLCERTTYPE, o.client_cert_type);
  set_string(easy_, CURLOPT_SSLKEY, o.client_key);
  set_string(easy_, CURLOPT_SSLKEYTYPE, o.client_key_type);
  set_string(easy_, CURLOPT_KEYPASSWD, o.client_key_password);
  set_string(easy_, CURLOPT_SSL_CIPHER_LIST, o.cipher_suites);
}

void CurlHandle::set_method(const HttpRequest& r) {
  // The order matters: each of these options resets what the earlier ones chose.
  curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, nullptr);
  curl_easy_setopt(easy_, CURLOPT_UPLOAD, 0L);
  curl_easy_setopt(easy_, CURLOPT_NOBODY, 0L);
  curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);
  switch (r.method) {
    case Method::kGet:
      return;
    case Method::kHead:
      curl_easy_setopt(easy_, CURLOPT_NOBODY, 1L);
      return;
    case Method::kDelete:
      curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, "DELETE");
      return;
    case Method::kPut:
    case Method::kPost:
      curl_easy_setopt(easy_, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(easy_, CURLOPT_INFILESIZE_LARGE,
                       static_cast<curl_off_t>(r.body == nullptr ? 0 : r.body->size()));
      if (r.method == Method::kPost) curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, "POST");
      return;
  }
}

void CurlHandle::set_patience(bool slow_answer) {
  curl_easy_setopt(easy_, CURLOPT_LOW_SPEED_LIMIT, slow_answer ? 1L : kLowSpeedBytes);
  curl_easy_setopt(easy_, CURLOPT_LOW_SPEED_TIME,
                   slow_answer ? patience_s_ * kSlowAnswerFactor : patience_s_);
}

void CurlHandle::attach(const HttpRequest& request, HttpTask* task) {
  task_ = task;
  body_ = request.body;
  body_at_ = 0;
  body_error_.reset();
  header_bytes_ = 0;
  error_[0] = '\0';
  set_method(request);
  set_patience(request.slow_answer);
  curl_easy_setopt(easy_, CURLOPT_CONNECT_ONLY, 0L);
  curl_easy_setopt(easy_, CURLOPT_URL, request.url.c_str());
  curl_slist* list = nullptr;
  for (const auto& [name, value] : request.headers)
    list = curl_slist_append(list, value.empty() ? (name + ";").c_str() : (name + ": " + value).c_str());
  // "Expect: 100-continue" costs a round trip, or a second on servers that do not know it.
  if (request.body != nullptr) list = curl_slist_append(list, "Expect:");
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, list);
  curl_slist_free_all(headers_);
  headers_ = list;
}

void CurlHandle::attach_connect(const HttpRequest& request) {
  error_[0] = '\0';
  curl_easy_setopt(easy_, CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(easy_, CURLOPT_URL, request.url.c_str());
}

UniqueFd CurlHandle::take_socket() {
  curl_socket_t socket = CURL_SOCKET_BAD;
  const CURLcode code = curl_easy_getinfo(easy_, CURLINFO_ACTIVESOCKET, &socket);
  if (code != CURLE_OK || socket == CURL_SOCKET_BAD) return {};
  return UniqueFd(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
}

HttpOutcome CurlHandle::outcome(CURLcode code) const {
  HttpOutcome out;
  out.transport = classify(code);
  if (code != CURLE_OK) out.message = error_[0] != '\0' ? error_ : curl_easy_strerror(code);
  out.body_error = body_error_;
  curl_off_t sent = 0;
  if (body_ != nullptr && curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK)
    out.bytes_sent = sent;
  return out;
}

size_t CurlHandle::on_header(char* data, size_t size, size_t n, void* self) {
  auto* h = static_cast<CurlHandle*>(self);
  const size_t bytes = size * n;
  h->header_bytes_ += bytes;
  const bool go_on = h->header_bytes_ <= kMaxHeaderBytes && h->task_->on_header_line({data, bytes});
  return go_on ? bytes : 0;
}

size_t CurlHandle::on_write(char* data, size_t size, size_t n, void* self) {
  auto* h = static_cast<CurlHandle*>(self);
  const size_t bytes = size * n;
  return h->task_->on_body({reinterpret_cast<const std::byte*>(data), bytes}) ? bytes : CURL_WRITEFUNC_ERROR;
}

size_t CurlHandle::on_read(char* out, size_t size, size_t n, void* self) {
  auto* h = static_cast<CurlHandle*>(self);
  const int64_t left = h->body_ == nullptr ? 0 : h->body_->size() - h->body_at_;
  if (left <= 0) return 0;
  const size_t wanted = static_cast<size_t>(std::min(static_cast<int64_t>(size * n), left));
  auto got = h->body_->read(h->body_at_, {reinterpret_cast<std::byte*>(out), wanted});
  if (got.ok() && (*got == 0 || *got > wanted)) got = Error{Code::kIo, "a body that ends before its size"};
  if (!got.ok()) {
    h->body_error_ = got.error();
    return CURL_READFUNC_ABORT;
  }
  h->body_at_ += static_cast<int64_t>(*got);
  return *got;
}

int CurlHandle::on_seek(void* self, curl_off_t offset, int origin) {
  auto* h = static_cast<CurlHandle*>(self);
  if (origin != SEEK_SET || offset < 0 || h->body_ == nullptr || offset > h->body_->size())
    return CURL_SEEKFUNC_FAIL;
  h->body_at_ = offset;
  return CURL_SEEKFUNC_OK;
}

}  // namespace s3cache::s3
