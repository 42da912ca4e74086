#include "s3/xml_tools.h"

#include "base/encoding.h"

namespace s3cache::s3::xml {

namespace {

// Real answers are three deep and real names at most 3 KiB encoded. tinyxml2 recurses as it parses and stops
// at 500 by itself, so the stack is safe.
constexpr size_t kMaxField = 64 * 1024;

Error corrupt(std::string what) { return Error{Code::kCorrupt, std::move(what)}; }

// "&#0;" and "&#x00;": the parser makes a NUL of it, where its C strings then end.
bool has_nul_reference(std::string_view text) {
  for (size_t at = text.find("&#"); at != std::string_view::npos; at = text.find("&#", at + 2)) {
    std::string_view s = text.substr(at + 2, 12);
    if (!s.empty() && (s.front() == 'x' || s.front() == 'X')) s.remove_prefix(1);
    const size_t end = s.find_first_not_of('0');
    if (end != 0 && end != std::string_view::npos && s[end] == ';') return true;
  }
  return false;
}

}  // namespace

std::string_view local_name(const Element& e) {
  std::string_view name = e.Name();
  const size_t colon = name.rfind(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

const Element* child(const Element& e, std::string_view name) {
  for (const Element* c = e.FirstChildElement(); c != nullptr; c = c->NextSiblingElement())
    if (local_name(*c) == name) return c;
  return nullptr;
}

std::string_view text_of(const Element* e) {
  const char* t = e == nullptr ? nullptr : e->GetText();
  return t == nullptr ? std::string_view() : std::string_view(t);
}

std::string bounded_text(const Element& parent, std::string_view name) {
  return std::string(text_of(child(parent, name)).substr(0, 1024));
}

Result<std::string> decode_name(std::string_view text, bool url_encoded) {
  if (text.size() > kMaxField) return corrupt("a name of " + std::to_string(text.size()) + " bytes");
  if (!url_encoded) return std::string(text);
  auto decoded = percent_decode(text, true);
  if (!decoded) return corrupt("a name that is not percent-encoded");
  return std::move(*decoded);
}

const Element* load(tinyxml2::XMLDocument& doc, std::string_view text) {
  // The parser stops at a NUL; an answer that holds one is not XML and would be cut short in silence.
  if (text.find('\0') != std::string_view::npos || has_nul_reference(text)) return nullptr;
  if (doc.Parse(text.data(), text.size()) != tinyxml2::XML_SUCCESS) return nullptr;
  return doc.RootElement();
}

}  // namespace s3cache::s3::xml
