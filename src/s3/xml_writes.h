// The XML of the writing verbs: what is sent, and what comes back.
//
// Decoders are total functions over whatever a server sends, as those of s3/xml.h. Threads: pure functions.
// Errors: kCorrupt. Units: UNIX seconds.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "s3/write_requests.h"

namespace s3cache::s3 {

// CopyObjectResult, CopyPartResult, CompleteMultipartUploadResult.
struct XmlResult {
  std::string etag = {};
  int64_t last_modified = 0;  // s
  std::optional<uint32_t> crc32c = {};
};
Result<XmlResult> parse_result_xml(std::string_view text);

// InitiateMultipartUploadResult.
Result<std::string> parse_upload_id_xml(std::string_view text);

// The failures of a DeleteResult.
struct XmlDeleteFailure {
  std::string key = {};
  std::string code = {};
  std::string message = {};
};
Result<std::vector<XmlDeleteFailure>> parse_delete_xml(std::string_view text);

// ListMultipartUploadsResult, with or without encoding-type=url.
struct UploadsPage {
  std::vector<ListedUpload> uploads = {};
  bool truncated = false;
  std::string key_marker = {};  // of the next page
  std::string upload_id_marker = {};
};
Result<UploadsPage> parse_uploads_xml(std::string_view text);

// XML has no way to say control characters and what is no UTF-8; blanks at the ends are not trusted to it.
bool xml_can_carry(std::string_view key);
// REQUIRES: xml_can_carry() of every key. Answers name failures only.
std::string delete_xml(const std::vector<DeleteItem>& items);
// `checksums`: with the parts' CRC32Cs.
std::string complete_xml(const std::vector<CompletedPart>& parts, bool checksums);
// As headers and XML carry a CRC32C: base64 of its four big-endian bytes.
std::string crc32c_text(uint32_t crc);
std::optional<uint32_t> parse_crc32c(std::string_view text);

}  // namespace s3cache::s3
