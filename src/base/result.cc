#include "base/result.h"

#include <cerrno>
#include <system_error>

namespace s3cache {

const char* code_name(Code code) {
  switch (code) {
    case Code::kNotFound:
      return "not-found";
    case Code::kExists:
      return "exists";
    case Code::kAccessDenied:
      return "access-denied";
    case Code::kStale:
      return "stale";
    case Code::kIo:
      return "io";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kTimeout:
      return "timeout";
    case Code::kNoSpace:
      return "no-space";
    case Code::kNoMemory:
      return "no-memory";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kInvalid:
      return "invalid";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kReadOnly:
      return "read-only";
    case Code::kNameTooLong:
      return "name-too-long";
    case Code::kNotDirectory:
      return "not-directory";
    case Code::kIsDirectory:
      return "is-directory";
    case Code::kNotEmpty:
      return "not-empty";
    case Code::kBusy:
      return "busy";
    case Code::kCancelled:
      return "cancelled";
    case Code::kNewerFormat:
      return "newer-format";
    case Code::kTooBig:
      return "too-big";
  }
  return "unknown";
}

namespace {

Code code_of_errno(int err) {
  switch (err) {
    case ENOENT:
      return Code::kNotFound;
    case EEXIST:
      return Code::kExists;
    case EACCES:
    case EPERM:
      return Code::kAccessDenied;
    case ENOSPC:
    case EDQUOT:
      return Code::kNoSpace;
    case ENOMEM:
      return Code::kNoMemory;
    case EINVAL:
      return Code::kInvalid;
    case EROFS:
      return Code::kReadOnly;
    case ENAMETOOLONG:
      return Code::kNameTooLong;
    case ENOTDIR:
      return Code::kNotDirectory;
    case EISDIR:
      return Code::kIsDirectory;
    case ENOTEMPTY:
      return Code::kNotEmpty;
    case EBUSY:
    case EWOULDBLOCK:
      return Code::kBusy;
    case ETIMEDOUT:
      return Code::kTimeout;
    case EOPNOTSUPP:
      return Code::kUnsupported;
    case EFBIG:
      return Code::kTooBig;
    default:
      return Code::kIo;
  }
}

}  // namespace

Error errno_error(int err, std::string what) {
  return Error{code_of_errno(err), std::move(what) + ": " + std::system_category().message(err)};
}

}  // namespace s3cache
