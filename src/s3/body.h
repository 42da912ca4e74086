// Body: what an upload sends, pulled piece by piece, so that no part is ever copied as a whole.
//
// Threads: read() runs on a network thread while the request is on its way, also on worker threads for
// sha256_hex(); never two at a time for one request. It must not block for long. Any offset may be asked for
// again (retries, connections that turn out dead), and the bytes must stay the same until the callback.
// Errors: what read() gives fails the request for good. Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace s3cache::s3 {

class Body {
 public:
  virtual ~Body() = default;
  // Fixed while a request uses the body.
  virtual int64_t size() const = 0;
  // At least one byte and at most out.size() of them, from `offset` on. REQUIRES: 0 <= offset < size().
  virtual Result<size_t> read(int64_t offset, std::span<std::byte> out) = 0;
  // False: its bytes are no longer those that the request's digests were taken of. A server that refuses it
  // is right, and is not asked again.
  virtual bool intact() const { return true; }
};

class StringBody : public Body {
 public:
  explicit StringBody(std::string data) : data_(std::move(data)) {}
  int64_t size() const override { return static_cast<int64_t>(data_.size()); }
  Result<size_t> read(int64_t offset, std::span<std::byte> out) override;

 private:
  const std::string data_;
};

std::shared_ptr<Body> string_body(std::string data);

enum class Digest : uint8_t { kMd5, kSha256 };
Result<std::string> digest_hex(Body& body, Digest digest);
// Of the whole body, for PutRequest::sha256_hex and PartRequest::sha256_hex. Reads all of it (about 1 GB/s at
// best): large bodies belong on a worker thread.
Result<std::string> sha256_hex(Body& body);
// All of it, for fakes and tests.
Result<std::string> read_all(Body& body);

}  // namespace s3cache::s3
