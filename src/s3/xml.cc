#include "s3/xml.h"

#include <algorithm>

#include "s3/response_headers.h"
#include "s3/xml_tools.h"

namespace s3cache::s3 {

namespace {

using namespace xml;

Error corrupt(std::string what) { return Error{Code::kCorrupt, "LIST answer: " + std::move(what)}; }

Result<ListedObject> parse_object(const Element& e, bool url_encoded) {
  ListedObject o;
  bool has_key = false;
  bool has_size = false;
  for (const Element* c = e.FirstChildElement(); c != nullptr; c = c->NextSiblingElement()) {
    const std::string_view name = local_name(*c);
    if (name == "Key") {
      auto key = decode_name(text_of(c), url_encoded);
      if (!key.ok()) return key.error();
      o.key = std::move(*key);
      has_key = true;
    } else if (name == "Size") {
      const auto size = parse_size(text_of(c));
      if (!size) return corrupt("a size that is no size");
      o.size = *size;
      has_size = true;
    } else if (name == "ETag") {
      o.etag = normalize_etag(text_of(c));
    } else if (name == "LastModified") {
      o.last_modified = parse_rfc3339(text_of(c)).value_or(0);
    }
  }
  if (!has_key || o.key.empty()) return corrupt("an object without a key");
  if (!has_size) return corrupt("an object without a size");
  return o;
}

Status parse_prefix(const Element& e, bool url_encoded, ListPage& page) {
  const Element* p = child(e, "Prefix");
  auto prefix = decode_name(text_of(p), url_encoded);
  if (!prefix.ok()) return prefix.error();
  if (prefix->empty()) return corrupt("a common prefix without a name");
  page.prefixes.push_back(std::move(*prefix));
  return {};
}

Status parse_entries(const Element& root, bool url_encoded, ListPage& page) {
  for (const Element* c = root.FirstChildElement(); c != nullptr; c = c->NextSiblingElement()) {
    const std::string_view name = local_name(*c);
    if (name == "Contents") {
      auto o = parse_object(*c, url_encoded);
      if (!o.ok()) return o.error();
      page.objects.push_back(std::move(*o));
    } else if (name == "CommonPrefixes") {
      if (Status s = parse_prefix(*c, url_encoded, page); !s.ok()) return s;
    }
  }
  return {};
}

std::string last_name(const ListPage& page) {
  std::string last;
  if (!page.objects.empty()) last = page.objects.back().key;
  if (!page.prefixes.empty()) last = std::max(last, page.prefixes.back());
  return last;
}

}  // namespace

XmlError parse_error_xml(std::string_view text) {
  XmlError out;
  tinyxml2::XMLDocument doc;
  const Element* root = load(doc, text);
  if (root == nullptr || local_name(*root) != "Error") return out;
  out.code = bounded_text(*root, "Code");
  out.message = bounded_text(*root, "Message");
  out.region = bounded_text(*root, "Region");
  out.endpoint = bounded_text(*root, "Endpoint");
  out.request_id = bounded_text(*root, "RequestId");
  out.condition = bounded_text(*root, "Condition");
  if (out.code.empty()) out.code = "Error";
  return out;
}

Result<ListAnswer> parse_list_xml(std::string_view text) {
  // Whitespace inside keys is data, which the default mode keeps.
  tinyxml2::XMLDocument doc(true, tinyxml2::PRESERVE_WHITESPACE);
  const Element* root = load(doc, text);
  if (root == nullptr) return corrupt("not XML");
  const std::string_view name = local_name(*root);
  if (name != "ListBucketResult" && name != "ListBucketV2Result")
    return corrupt("<" + std::string(name.substr(0, 64)) + "> instead of ListBucketResult");

  ListAnswer out;
  const bool url_encoded = text_of(child(*root, "EncodingType")) == "url";
  if (Status s = parse_entries(*root, url_encoded, out.page); !s.ok()) return s.error();
  const std::string_view truncated = text_of(child(*root, "IsTruncated"));
  out.page.truncated = truncated == "true" || truncated == "True" || truncated == "1";
  if (!out.page.truncated) return out;
  out.v2_token = std::string(text_of(child(*root, "NextContinuationToken")));
  auto marker = decode_name(text_of(child(*root, "NextMarker")), url_encoded);
  if (!marker.ok()) return marker.error();
  out.v1_marker = marker->empty() ? last_name(out.page) : std::move(*marker);
  if (out.v2_token.empty() && out.v1_marker.empty()) return corrupt("truncated, and no way to go on");
  return out;
}

}  // namespace s3cache::s3
