#include "s3/service_error.h"

#include <cstdlib>

namespace s3cache::s3 {

namespace {

// S3 refuses from 15 minutes on; a HEAD's 403 carries no code, so a clock that far off is taken for the
// reason.
constexpr int64_t kMaxSkewS = 14 * 60;

Code code_of_transport(Transport t) {
  switch (t) {
    case Transport::kTimeout:
      return Code::kTimeout;
    case Transport::kBadAnswer:
      return Code::kCorrupt;
    case Transport::kInternal:
      return Code::kIo;
    case Transport::kRefusedByTask:
      return Code::kCancelled;
    default:
      return Code::kUnavailable;
  }
}

// The second is versitygw's word for it, with status 404.
bool is_unknown_access_key(std::string_view s3_code) {
  return s3_code == "InvalidAccessKeyId" || s3_code == "XAdminUserNotFound";
}

Code code_of_status(int status, std::string_view s3_code) {
  // A bucket that vanished must not look as if each of its objects had been deleted.
  if (s3_code == "NoSuchBucket") return Code::kUnavailable;
  if (is_unknown_access_key(s3_code)) return Code::kAccessDenied;
  if (status == 404) return Code::kNotFound;
  if (status == 401 || status == 403) return Code::kAccessDenied;
  if (status == 412) return Code::kStale;
  if (status == 501) return Code::kUnsupported;
  if (status == 429 || status >= 500) return Code::kUnavailable;
  if (status == 400 && s3_code == "RequestTimeout") return Code::kUnavailable;
  if (status < 300) return Code::kUnavailable;  // an <Error> behind a 200
  return Code::kInvalid;
}

}  // namespace

bool ServiceError::slow_down() const {
  return status == 429 || status == 503 || code == "SlowDown" || code == "TooManyRequests" ||
         code == "RequestLimitExceeded" || code == "Throttling";
}

bool ServiceError::expired_token() const {
  return code == "ExpiredToken" || code == "InvalidToken" || code == "TokenRefreshRequired";
}

bool ServiceError::unknown_access_key() const { return is_unknown_access_key(code); }

bool ServiceError::retryable() const {
  switch (transport) {
    case Transport::kUnreachable:
    case Transport::kReset:
    case Transport::kTimeout:
    case Transport::kTls:  // also handshakes that were reset
      return true;
    case Transport::kBadAnswer:
    case Transport::kInternal:
      return false;
    case Transport::kOk:
    case Transport::kRefusedByTask:
      break;
  }
  if (slow_down() || code == "RequestTimeout" || code == "InternalError") return true;
  return status == 408 || (status >= 500 && status != 501);
}

bool ServiceError::clock_skewed(int64_t now_s) const {
  if (server_date == 0) return false;
  if (code == "RequestTimeTooSkewed") return true;
  return status == 403 && code.empty() && std::llabs(server_date - now_s) > kMaxSkewS;
}

Error ServiceError::to_error(std::string_view what) const {
  std::string text(what);
  if (status != 0) text += ": HTTP " + std::to_string(status);
  if (!code.empty()) text += " " + code;
  if (!message.empty()) text += ": " + message;
  if (!request_id.empty()) text += " (request " + request_id + ")";
  const bool broken = transport != Transport::kOk && transport != Transport::kRefusedByTask;
  return Error{broken ? code_of_transport(transport) : code_of_status(status, code), std::move(text)};
}

}  // namespace s3cache::s3
