// One LIST page out of a sorted set of objects: grouping by '/', paging, and a scrambled order on demand.
// Threads: a value, used by FakeS3 under its lock.
#pragma once

#include <cstdint>
#include <vector>

#include "s3/s3_client.h"

namespace s3cache::s3 {

struct FakeListing {
  unsigned order_seed = 0;  // 0: S3's byte order
  int page_size = 1000;
  std::vector<ListedObject> objects = {};  // sorted by key, all with the request's prefix

  // next_token is the last entry given (so pages stay right while the bucket changes, as S3's do); the number
  // of entries given when scrambled.
  ListPage page(const ListRequest& request) const;
};

}  // namespace s3cache::s3
