#include "core/xattrs.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/encoding.h"

namespace s3cache::core {

bool is_own_xattr(std::string_view name) {
  return std::find(std::begin(kOwnXattrs), std::end(kOwnXattrs), name) != std::end(kOwnXattrs);
}

std::vector<std::pair<std::string, std::string>> decode_xattrs(std::string_view header) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto text = percent_decode(header, false);
  if (!text || text->empty()) return out;
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object()) return out;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_string()) continue;
    if (auto bytes = base64_decode(value.get<std::string>())) out.emplace_back(name, std::move(*bytes));
  }
  return out;
}

}  // namespace s3cache::core
