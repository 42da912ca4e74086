// Decoders of answer headers and the collector that bounds what an answer may make us keep.
//
// Threads: values and pure functions. Errors: nullopt or a flag for malformed input; hostile input never
// costs more than 8 KiB of kept headers. Units: bytes, UNIX seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "s3/s3_client.h"

namespace s3cache::s3 {

// "Sun, 06 Nov 1994 08:49:37 GMT".
std::optional<int64_t> parse_http_date(std::string_view text);
// "2009-10-12T17:50:30.000Z", also with an offset or without a fraction.
std::optional<int64_t> parse_rfc3339(std::string_view text);
// A decimal number without sign that fits; nothing else around it.
std::optional<int64_t> parse_size(std::string_view text);
// Without quotes; empty for weak tags, which promise no equal bytes.
std::string normalize_etag(std::string_view text);

// Whether ObjectInfo::headers keeps it. REQUIRES: name in lower case.
bool is_kept_header(std::string_view name);

struct ContentRange {
  int64_t first = 0;
  int64_t last = 0;  // inclusive
  int64_t total = 0;
};
// "bytes 0-9/443"; nullopt also for an unknown total or a range outside of it.
std::optional<ContentRange> parse_content_range(std::string_view text);

class ResponseHeaders {
 public:
  static constexpr size_t kKeptBytes = 8 * 1024;

  // One line as it came, CRLF included or not. A status line starts the answer anew (after 1xx).
  void add_line(std::string_view line);

  int status = 0;
  std::optional<int64_t> content_length;
  std::optional<ContentRange> content_range;
  bool bad_length = false;  // a Content-Length or Content-Range that is there but makes no sense
  std::string etag;
  int64_t last_modified = 0;
  int64_t date = 0;
  std::string bucket_region;                // x-amz-bucket-region
  std::string checksum_crc32c;              // x-amz-checksum-crc32c, as it came
  std::optional<int64_t> retry_after_s;     // in seconds
  std::optional<int64_t> retry_after_date;  // or at a time
  std::vector<std::pair<std::string, std::string>> kept;

  // With size left to the caller.
  ObjectInfo object_info() const;

 private:
  void keep(std::string name, std::string_view value);
  size_t kept_bytes_ = 0;
};

}  // namespace s3cache::s3
