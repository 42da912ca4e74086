// Header lines, dates, sizes, ranges and ETags as a hostile server may write them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/encoding.h"
#include "s3/response_headers.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

void check_decoders(std::string_view text) {
  if (const auto r = parse_content_range(text))
    if (r->first < 0 || r->first > r->last || r->last >= r->total) abort();
  if (const auto n = parse_size(text))
    if (*n < 0) abort();
  const std::string etag = normalize_etag(text);
  if (etag.size() > 1024 || etag.find_first_of("\r\n\"") != std::string::npos) abort();
  parse_http_date(text);
  parse_rfc3339(text);
  percent_decode(text, true);
  base64_decode(text);
  hex_decode(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  check_decoders(text);
  ResponseHeaders headers;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end == std::string_view::npos ? text.size() : end + 1);
    text.remove_prefix(line.size());
    headers.add_line(line);
  }
  size_t kept = 0;
  for (const auto& [name, value] : headers.object_info().headers) kept += name.size() + value.size();
  if (kept > ResponseHeaders::kKeptBytes) abort();
  return 0;
}
