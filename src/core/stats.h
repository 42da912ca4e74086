// Stats: what a mount has done, holds and still owes S3: for `s3cache status`, `s3cache sync` and the
// unmount.
// Threads: a value. Units: bytes, seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "core/namespace.h"
#include "s3/s3_client.h"

namespace s3cache::core {

// Something that did not get to S3 and is still to.
struct Trouble {
  std::string key;
  Error error{Code::kIo, ""};
  int64_t at_ns = 0;  // wall time of the last try
};

struct Stats {
  int64_t cache_bytes = 0, cache_limit = 0;  // limit 0: the free space decides
  size_t cache_files = 0;
  size_t dirty_files = 0;          // with bytes or attributes that S3 lacks
  int64_t dirty_bytes = 0;         // parts that are there already do not count
  size_t uploads = 0;              // of those files, on their way
  size_t changes = 0;              // of names and attributes, not on S3 yet
  std::optional<Trouble> trouble;  // the latest of those that stand
  s3::Counters requests;
  NamespaceStats names;

  bool clean() const { return dirty_files == 0 && changes == 0; }
};

// The later of two.
inline void take_later(std::optional<Trouble>& latest, const Trouble& other) {
  if (!latest || latest->at_ns < other.at_ns) latest = other;
}

}  // namespace s3cache::core
