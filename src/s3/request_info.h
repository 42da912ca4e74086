// What a fake or a fault decorator knows of one request: for records, counts and decisions of tests.
// Threads: a value.
#pragma once

#include <cstdint>
#include <string>

#include "s3/s3_client.h"

namespace s3cache::s3 {

enum class Verb : uint8_t { kGet, kHead, kList };

struct RequestInfo {
  RequestId id = 0;
  Verb verb = Verb::kGet;
  Priority priority = Priority::kForeground;  // as it was sent; promote() does not change the record
  std::string key;                            // LIST: the prefix
  int64_t offset = 0;                         // GET
  int64_t length = -1;                        // GET
  std::string if_match;                       // GET
  ListRequest list;                           // LIST
};

}  // namespace s3cache::s3
