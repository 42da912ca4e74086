// What the decoders of S3's XML share: names without prefixes, bounded texts, documents that may be hostile.
//
// Threads: pure functions. Errors: nullptr, empty or kCorrupt for what makes no sense. Units: bytes.
#pragma once

#include <tinyxml2.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace s3cache::s3::xml {

using Element = tinyxml2::XMLElement;

// Some servers put a namespace prefix before every name ("s3:Key").
std::string_view local_name(const Element& e);
const Element* child(const Element& e, std::string_view name);
std::string_view text_of(const Element* e);  // empty for nullptr
// Of a child, cut at 1,024 bytes.
std::string bounded_text(const Element& parent, std::string_view name);
// Keys come percent-encoded when the answer's EncodingType says so; at most 64 KiB.
Result<std::string> decode_name(std::string_view text, bool url_encoded);
// The root, nullptr if this is no XML. White space before it, which keeps connections alive, is skipped.
const Element* load(tinyxml2::XMLDocument& doc, std::string_view text);

}  // namespace s3cache::s3::xml
