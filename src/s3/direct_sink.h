// DirectSink: a GetSink that says where the next bytes belong, so that they are received there at once.
//
// Threads and errors: as GetSink. Where the transport cannot place bytes (TLS, a proxy), on_data brings them
// from elsewhere, so a sink copies what does not lie in its own space. Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "s3/s3_client.h"

namespace s3cache::s3 {

class DirectSink : public GetSink {
 public:
  // Room for the bytes at `offset` of the object, which is where the last on_data ended; at least one byte.
  // Valid until the next on_data or on_done.
  virtual std::span<std::byte> space(int64_t offset) = 0;
};

}  // namespace s3cache::s3
