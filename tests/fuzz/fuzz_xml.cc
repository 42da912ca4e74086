// XML answers as a hostile server may write them: no crash, no leak, bounded results. And what we write of
// any key is read back as that key.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "s3/xml.h"
#include "s3/xml_writes.h"

namespace {

using namespace s3cache::s3;

void require(bool condition) {
  if (!condition) abort();
}

void read_answers(std::string_view text) {
  const auto list = parse_list_xml(text);
  if (list.ok()) {
    for (const auto& o : list->page.objects) require(!o.key.empty() && o.size >= 0);
    for (const auto& p : list->page.prefixes) require(!p.empty());
    require(!list->page.truncated || !list->v2_token.empty() || !list->v1_marker.empty());
  }
  const auto error = parse_error_xml(text);
  require(error.code.size() <= 1024 && error.message.size() <= 1024 && error.condition.size() <= 1024);
  const auto result = parse_result_xml(text);
  if (result.ok()) require(result->etag.size() <= 1024);
  const auto id = parse_upload_id_xml(text);
  if (id.ok()) require(!id->empty() && id->size() <= 2048);
  const auto failures = parse_delete_xml(text);
  if (failures.ok())
    for (const auto& f : *failures)
      require(!f.key.empty() && f.code.size() <= 1024 && f.message.size() <= 1024);
  const auto uploads = parse_uploads_xml(text);
  if (uploads.ok()) {
    for (const auto& u : uploads->uploads) require(!u.key.empty() && !u.upload_id.empty());
    require(!uploads->truncated || !uploads->key_marker.empty());
  }
}

// An <Error> of DeleteResult has the same shape as an <Object> of Delete.
void write_key(std::string_view key) {
  if (!xml_can_carry(key)) return;
  std::string xml = delete_xml({{std::string(key), {}}});
  const auto replace = [&xml](std::string_view from, std::string_view to) {
    const size_t at = xml.find(from);
    require(at != std::string::npos);
    xml.replace(at, from.size(), to);
  };
  replace("<Delete xmlns", "<DeleteResult xmlns");
  replace("<Object>", "<Error>");
  xml.resize(xml.size() - std::string_view("</Object></Delete>").size());
  xml += "</Error></DeleteResult>";
  const auto back = parse_delete_xml(xml);
  require(back.ok() && back->size() == 1 && back->front().key == key);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_answers(text);
  write_key(text.substr(0, 1024));
  return 0;
}
