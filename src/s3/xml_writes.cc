#include "s3/xml_writes.h"

#include "base/bytes.h"
#include "base/encoding.h"
#include "s3/response_headers.h"
#include "s3/xml_tools.h"

namespace s3cache::s3 {

namespace {

using namespace xml;

// Real ones are under 200 bytes; it goes back into URLs.
constexpr size_t kMaxUploadId = 2048;

Error corrupt(std::string what) { return Error{Code::kCorrupt, std::move(what)}; }

bool is_upload_id(std::string_view id) {
  if (id.empty() || id.size() > kMaxUploadId) return false;
  for (const char c : id)
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return false;
  return true;
}

Result<ListedUpload> parse_upload(const Element& e, bool url_encoded) {
  ListedUpload u;
  auto key = decode_name(text_of(child(e, "Key")), url_encoded);
  if (!key.ok()) return key.error();
  u.key = std::move(*key);
  u.upload_id = std::string(text_of(child(e, "UploadId")));
  u.initiated = parse_rfc3339(text_of(child(e, "Initiated"))).value_or(0);
  if (u.key.empty() || !is_upload_id(u.upload_id)) return corrupt("an upload without key or id");
  return u;
}

// The length of the UTF-8 character that `s` starts with, 0 if XML 1.0 has none such.
size_t xml_character(std::string_view s) {
  const auto byte = [&s](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || s.size() < n) return 0;
  uint32_t point = first & (0x7fu >> n);
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    point = point << 6 | (byte(i) & 0x3f);
  }
  static constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  // U+0080 to U+009F are legal, but some parsers turn U+0085 into a line end.
  if (point < kSmallest[n] || point > 0x10ffff || surrogate || point < 0xa0 || (point & 0xfffe) == 0xfffe)
    return 0;
  return point == 0x2028 ? 0 : n;
}

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
}

}  // namespace

Result<XmlResult> parse_result_xml(std::string_view text) {
  tinyxml2::XMLDocument doc;
  const Element* root = load(doc, text);
  if (root == nullptr) return corrupt("the answer is not XML");
  const std::string_view name = local_name(*root);
  if (name != "CopyObjectResult" && name != "CopyPartResult" && name != "CompleteMultipartUploadResult")
    return corrupt("<" + std::string(name.substr(0, 64)) + "> instead of a result");
  XmlResult out;
  out.etag = normalize_etag(text_of(child(*root, "ETag")));
  out.last_modified = parse_rfc3339(text_of(child(*root, "LastModified"))).value_or(0);
  out.crc32c = parse_crc32c(text_of(child(*root, "ChecksumCRC32C")));
  return out;
}

Result<std::string> parse_upload_id_xml(std::string_view text) {
  tinyxml2::XMLDocument doc;
  const Element* root = load(doc, text);
  if (root == nullptr || local_name(*root) != "InitiateMultipartUploadResult")
    return corrupt("not an InitiateMultipartUploadResult");
  std::string id(text_of(child(*root, "UploadId")));
  if (!is_upload_id(id)) return corrupt("no upload id that makes sense");
  return id;
}

Result<std::vector<XmlDeleteFailure>> parse_delete_xml(std::string_view text) {
  tinyxml2::XMLDocument doc(true, tinyxml2::PRESERVE_WHITESPACE);
  const Element* root = load(doc, text);
  if (root == nullptr || local_name(*root) != "DeleteResult") return corrupt("not a DeleteResult");
  std::vector<XmlDeleteFailure> out;
  for (const Element* c = root->FirstChildElement(); c != nullptr; c = c->NextSiblingElement()) {
    if (local_name(*c) != "Error") continue;
    auto key = decode_name(text_of(child(*c, "Key")), false);
    if (!key.ok()) return key.error();
    if (key->empty()) return corrupt("a failure without a key");
    out.push_back({std::move(*key), bounded_text(*c, "Code"), bounded_text(*c, "Message")});
  }
  return out;
}

Result<UploadsPage> parse_uploads_xml(std::string_view text) {
  tinyxml2::XMLDocument doc(true, tinyxml2::PRESERVE_WHITESPACE);
  const Element* root = load(doc, text);
  if (root == nullptr || local_name(*root) != "ListMultipartUploadsResult")
    return corrupt("not a ListMultipartUploadsResult");
  const bool url_encoded = text_of(child(*root, "EncodingType")) == "url";
  UploadsPage page;
  for (const Element* c = root->FirstChildElement(); c != nullptr; c = c->NextSiblingElement()) {
    if (local_name(*c) != "Upload") continue;
    auto u = parse_upload(*c, url_encoded);
    if (!u.ok()) return u.error();
    page.uploads.push_back(std::move(*u));
  }
  const std::string_view truncated = text_of(child(*root, "IsTruncated"));
  page.truncated = truncated == "true" || truncated == "True" || truncated == "1";
  if (!page.truncated) return page;
  auto marker = decode_name(text_of(child(*root, "NextKeyMarker")), url_encoded);
  if (!marker.ok()) return marker.error();
  page.key_marker = std::move(*marker);
  page.upload_id_marker = std::string(text_of(child(*root, "NextUploadIdMarker")).substr(0, kMaxUploadId));
  if (page.key_marker.empty()) return corrupt("truncated, and no way to go on");
  return page;
}

bool xml_can_carry(std::string_view key) {
  // A server that trims texts would delete another object.
  if (key.empty() || key.front() == ' ' || key.back() == ' ') return false;
  while (!key.empty()) {
    const size_t n = xml_character(key);
    if (n == 0) return false;
    key.remove_prefix(n);
  }
  return true;
}

std::string delete_xml(const std::vector<DeleteItem>& items) {
  std::string out = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";
  for (const DeleteItem& item : items) {
    out += "<Object><Key>";
    append_escaped(out, item.key);
    out += "</Key>";
    if (!item.if_match.empty()) {
      out += "<ETag>&quot;";
      append_escaped(out, item.if_match);
      out += "&quot;</ETag>";
    }
    out += "</Object>";
  }
  return out + "</Delete>";
}

std::string complete_xml(const std::vector<CompletedPart>& parts, bool checksums) {
  std::string out = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (const CompletedPart& part : parts) {
    out += "<Part><PartNumber>" + std::to_string(part.number) + "</PartNumber><ETag>&quot;";
    append_escaped(out, part.etag);
    out += "&quot;</ETag>";
    if (checksums && part.crc32c) out += "<ChecksumCRC32C>" + crc32c_text(*part.crc32c) + "</ChecksumCRC32C>";
    out += "</Part>";
  }
  return out + "</CompleteMultipartUpload>";
}

std::optional<uint32_t> parse_crc32c(std::string_view text) {
  const auto bytes = text.size() == 8 ? base64_decode(text) : std::nullopt;
  if (!bytes || bytes->size() != 4) return std::nullopt;
  ByteReader reader(*bytes);
  return reader.u32();
}

std::string crc32c_text(uint32_t crc) {
  std::string bytes;
  put_u32(bytes, crc);
  return base64_encode(bytes);
}

}  // namespace s3cache::s3
