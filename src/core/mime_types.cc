#include "core/mime_types.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <unordered_map>

#include "base/sync.h"

namespace s3cache::core {

namespace {

using Table = std::unordered_map<std::string, std::string>;  // extension in lower case -> type

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

Table read_table(const std::string& path) {
  Table out;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string type, extension;
    words >> type;
    while (words >> extension) out.try_emplace(lower(extension), type);
  }
  return out;
}

const Table& table_of(const std::string& path) {
  static Mutex mu;
  static std::map<std::string, std::unique_ptr<const Table>> tables;
  MutexLock lock(mu);
  auto& slot = tables[path];
  if (!slot) slot = std::make_unique<const Table>(read_table(path));
  return *slot;
}

}  // namespace

std::string content_type_by_name(std::string_view name, const std::string& mime_file) {
  const size_t slash = name.rfind('/');
  if (slash != std::string_view::npos) name.remove_prefix(slash + 1);
  const Table& table = table_of(mime_file);
  for (int part = 0; part < 2; part++) {
    const size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) break;
    const auto it = table.find(lower(name.substr(dot + 1)));
    if (it != table.end()) return it->second;
    name = name.substr(0, dot);
  }
  return std::string(kDefaultContentType);
}

}  // namespace s3cache::core
