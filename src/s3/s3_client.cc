#include "s3/s3_client.h"

namespace s3cache::s3 {

const std::string* ObjectInfo::header(std::string_view name) const {
  for (const auto& [n, value] : headers)
    if (n == name) return &value;
  return nullptr;
}

}  // namespace s3cache::s3
