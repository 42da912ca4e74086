// LIST answers and error bodies as a hostile server may write them: no crash, no leak, bounded results.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "s3/xml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto list = s3cache::s3::parse_list_xml(text);
  if (list.ok()) {
    for (const auto& o : list->page.objects)
      if (o.key.empty() || o.size < 0) abort();
    for (const auto& p : list->page.prefixes)
      if (p.empty()) abort();
    if (list->page.truncated && list->v2_token.empty() && list->v1_marker.empty()) abort();
  }
  const auto error = s3cache::s3::parse_error_xml(text);
  if (error.code.size() > 1024 || error.message.size() > 1024) abort();
  return 0;
}
