// Error and Result<T>: how every floor reports failure.
//
// An Error is a code that callers branch on plus a message that people read. No exception crosses a floor;
// the FUSE edge maps codes to errno in one table (fuse/errno.h). Threads: values; no shared state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace s3cache {

enum class Code : uint8_t {
  kNotFound,      // no such object, name or record
  kExists,        // the name is taken (If-None-Match lost)
  kAccessDenied,  // the server or the local file system said no
  kStale,         // the version asked for is gone (412, ETag moved, retired incarnation)
  kIo,            // disk or protocol failure without a better name
  kUnavailable,   // network down, retries used up, 5xx to the end
  kTimeout,       // no progress within the deadline
  kNoSpace,       // disk or quota full
  kNoMemory,      // the memory budget cannot serve this
  kCorrupt,       // bytes or records fail their check
  kInvalid,       // a malformed argument, option, answer
  kUnsupported,   // not implemented here or by the server
  kReadOnly,      // this mount does not write
  kNameTooLong,   // over NAME_MAX or the 1,024 bytes of an S3 key
  kNotDirectory,  // a directory was needed
  kIsDirectory,   // a file was needed
  kNotEmpty,      // the directory has entries
  kBusy,          // locked or in use by somebody else
  kCancelled,     // interrupted by the caller, or shutting down
  kNewerFormat,   // on-disk format of a later version
  kTooBig,        // over a limit of the server or of S3 for one object
};

// The code's name for logs and tests, e.g. "not-found".
const char* code_name(Code code);

struct Error {
  Code code;
  std::string message;  // names the thing; no trailing full stop; no secrets
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return v_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<0>(v_); }
  const T& value() const { return std::get<0>(v_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(v_); }
  Code code() const { return error().code; }
  bool is(Code c) const { return !ok() && code() == c; }

 private:
  std::variant<T, Error> v_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : e_(std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return !e_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *e_; }
  Code code() const { return e_->code; }
  bool is(Code c) const { return !ok() && code() == c; }

 private:
  std::optional<Error> e_;
};

using Status = Result<void>;

// An Error from errno, with what was tried: "open /x: No such file or directory".
Error errno_error(int err, std::string what);

}  // namespace s3cache
