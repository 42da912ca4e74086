#include "s3/service_error.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

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

// Codes that mean the same whatever the status: also behind a 200, and per item of DeleteObjects.
constexpr std::pair<std::string_view, Code> kCodes[] = {
    // A bucket that vanished must not look as if each of its objects had been deleted.
    {"NoSuchBucket", Code::kUnavailable},
    {"NoSuchKey", Code::kNotFound},
    {"NoSuchUpload", Code::kNotFound},
    {"AccessDenied", Code::kAccessDenied},
    {"PreconditionFailed", Code::kStale},
    {"NotImplemented", Code::kUnsupported},
    {"MethodNotAllowed", Code::kUnsupported},
    {"EntityTooLarge", Code::kTooBig},
    {"KeyTooLongError", Code::kNameTooLong},
    {"KeyTooLong", Code::kNameTooLong},
    {"MetadataTooLarge", Code::kNoSpace},
    {"RequestHeaderSectionTooLarge", Code::kNoSpace},
    {"QuotaExceeded", Code::kNoSpace},
    {"InsufficientStorage", Code::kNoSpace},
    {"XMinioStorageFull", Code::kNoSpace},
    {"XMinioAdminBucketQuotaExceeded", Code::kNoSpace},
    {"BadDigest", Code::kCorrupt},
    {"XAmzContentSHA256Mismatch", Code::kCorrupt},
    {"XAmzContentChecksumMismatch", Code::kCorrupt},
    {"ConditionalRequestConflict", Code::kUnavailable},
    {"OperationAborted", Code::kUnavailable},
    {"RequestTimeout", Code::kUnavailable},
    {"IncompleteBody", Code::kUnavailable},
    // versitygw keeps objects as files.
    {"ExistingObjectIsDirectory", Code::kIsDirectory},
    {"ObjectParentIsFile", Code::kNotDirectory},
    {"ErrDirectoryNotEmpty", Code::kNotEmpty},
};

std::optional<Code> known_code(std::string_view s3_code) {
  if (is_unknown_access_key(s3_code)) return Code::kAccessDenied;
  for (const auto& [name, code] : kCodes)
    if (name == s3_code) return code;
  return std::nullopt;
}

Code code_of_status(int status, std::string_view s3_code) {
  if (const auto code = known_code(s3_code)) return *code;
  if (status == 404) return Code::kNotFound;
  if (status == 401 || status == 403) return Code::kAccessDenied;
  if (status == 405 || status == 501) return Code::kUnsupported;
  if (status == 412) return Code::kStale;
  if (status == 413) return Code::kTooBig;
  if (status == 507) return Code::kNoSpace;
  if (status == 429 || status >= 500) return Code::kUnavailable;
  if (status < 300) return Code::kUnavailable;  // an <Error> behind a 200
  return Code::kInvalid;
}

bool contains_word(std::string_view text, std::string_view lower_word) {
  const auto same = [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
  };
  return std::search(text.begin(), text.end(), lower_word.begin(), lower_word.end(), same) != text.end();
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
  if (slow_down()) return true;
  // Corrupt: bytes that changed on their way. Not a full disk: it stays full for longer than we try.
  static constexpr std::string_view kRetried[] = {"RequestTimeout",
                                                  "InternalError",
                                                  "ConditionalRequestConflict",
                                                  "OperationAborted",
                                                  "IncompleteBody",
                                                  "ServiceUnavailable",
                                                  "BadDigest",
                                                  "XAmzContentSHA256Mismatch",
                                                  "XAmzContentChecksumMismatch"};
  if (std::find(std::begin(kRetried), std::end(kRetried), code) != std::end(kRetried)) return true;
  return status == 408 || (status >= 500 && status != 501 && status != 507);
}

bool ServiceError::maybe_done() const {
  switch (transport) {
    case Transport::kReset:
    case Transport::kTimeout:
    case Transport::kBadAnswer:
      return true;
    case Transport::kOk:
    case Transport::kRefusedByTask:
      return status >= 500 || status < 300 || code == "RequestTimeout";
    default:
      return false;  // it never got there
  }
}

bool ServiceError::refuses_digest() const { return code_of(code) == Code::kCorrupt; }

bool ServiceError::refuses_checksum() const {
  if (status == 501 || code == "NotImplemented") return true;
  return status == 400 && code != "BadDigest" && code != "XAmzContentChecksumMismatch" &&
         (contains_word(message, "checksum") || contains_word(code, "checksum"));
}

Code ServiceError::code_of(std::string_view s3_code) {
  return known_code(s3_code).value_or(s3_code == "InternalError" || s3_code == "SlowDown" ? Code::kUnavailable
                                                                                          : Code::kInvalid);
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
  Code result = broken ? code_of_transport(transport) : code_of_status(status, code);
  // CopyObject and UploadPartCopy have no code of their own for sources over 5 GiB.
  if (result == Code::kInvalid && contains_word(message, "larger than the maximum")) result = Code::kTooBig;
  return Error{result, std::move(text)};
}

}  // namespace s3cache::s3
