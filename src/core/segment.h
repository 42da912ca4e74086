// Segment: one GET of a Content, from being planned to the moment its last byte lies in the cache file.
//
// Life: planned (in Content::segments_, no memory yet) -> started (units taken, request sent) -> filled byte
// by byte in order -> done. With to_disk each full unit is written by the disk pool and released; the segment
// leaves the Content when all are. A unit that was fetched ahead of a stream may stay until its reader has
// passed, who then needs no pread and no second checksum. Without to_disk (cache full, bypassed or broken)
// the bytes stay in RAM until memory is short. Threads: fields are guarded by the Content's mutex, except
// that the network thread alone writes into units beyond `filled`. Units: bytes; offset is a multiple of 4
// KiB, length too or it ends at the end of the object.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/buffer_pool.h"
#include "s3/s3_client.h"

namespace s3cache::core {

// Where a version's bytes are to be had: a rename moves the key, and a copy may change the ETag.
struct ObjectSource {
  std::string key;
  std::string etag;
  bool operator==(const ObjectSource&) const = default;
};

struct Segment {
  int64_t offset = 0;
  int64_t length = 0;
  int64_t filled = 0;  // contiguous bytes from offset that arrived
  bool to_disk = true;
  std::atomic<bool> background = false;  // the Fetcher reads it without the Content's mutex
  bool done = false;                     // the transfer ended well
  // Bytes of the cache's budget taken for what was not handed to the disk pool yet. A unit's share goes with
  // its job, which turns it into use or gives it back, so each byte is settled once however the transfer
  // ends.
  int64_t reserved = 0;
  size_t stored_units = 0;
  s3::RequestId request = 0;
  ObjectSource source;                  // asked by this request
  std::optional<Error> refusal;         // why the answer's headers were turned down
  std::vector<BufferPool::Unit> units;  // reset one by one as they reach the disk, or once they were read
  std::vector<bool> kept;               // units that are on disk and stay for the reader close behind
  bool streamed = false;                // planned ahead of a reader
  int64_t read_to = 0;                  // end of what was answered, in the file

  int64_t end() const { return offset + length; }
  size_t unit_count() const {
    return static_cast<size_t>((length + BufferPool::kUnit - 1) / BufferPool::kUnit);
  }
  // Bytes of unit i.
  int64_t unit_length(size_t i) const {
    return std::min<int64_t>(BufferPool::kUnit, length - static_cast<int64_t>(i) * BufferPool::kUnit);
  }
};

}  // namespace s3cache::core
