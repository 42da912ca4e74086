// File, page bitmaps and block checksums: what is known of the cache files.
#include <algorithm>

#include "base/bytes.h"
#include "meta/records.h"

namespace s3cache::meta {
namespace {

constexpr uint8_t kVersion = 1;
// Version 1, "all 8,192 pages": a byte of its own, so that a bitmap cut short is never taken for a full
// chunk.
constexpr uint8_t kFullBitmap = 0x81;
constexpr size_t kBitmapBytes = 1024;
constexpr size_t kMaxEtag = 255;

// Bits of File's flag byte.
constexpr uint8_t kSynced = 1, kRegistered = 2, kFileBits = 3;

}  // namespace

std::string File::encode() const {
  std::string out;
  out.reserve(48 + etag.size());
  put_u8(out, kVersion);
  put_u8(out, static_cast<uint8_t>(state));
  put_u8(out, static_cast<uint8_t>((synced ? kSynced : 0) | (registered ? kRegistered : 0)));
  put_u64(out, ino);
  put_u64(out, static_cast<uint64_t>(size));
  put_u64(out, static_cast<uint64_t>(valid_bytes));
  put_u64(out, static_cast<uint64_t>(last_used_s));
  put_u64(out, key_hash);
  put_bytes16(out, etag.size() <= kMaxEtag ? std::string_view(etag) : std::string_view());
  return out;
}

std::optional<File> File::decode(std::string_view v) {
  ByteReader r(v);
  if (r.u8() != kVersion) return std::nullopt;
  const uint8_t state = r.u8(), bits = r.u8();
  if (state > static_cast<uint8_t>(FileState::kModified) || (bits & ~kFileBits) != 0) return std::nullopt;
  File f;
  f.state = static_cast<FileState>(state);
  f.synced = (bits & kSynced) != 0;
  f.registered = (bits & kRegistered) != 0;
  f.ino = r.u64();
  f.size = static_cast<int64_t>(r.u64());
  f.valid_bytes = static_cast<int64_t>(r.u64());
  f.last_used_s = static_cast<int64_t>(r.u64());
  f.key_hash = r.u64();
  const std::string_view etag = r.bytes16();
  if (r.failed() || !r.at_end() || etag.size() > kMaxEtag) return std::nullopt;
  f.etag = etag;
  return f;
}

std::string encode_bitmap(std::string_view bits) {
  std::string out;
  if (bits.size() == kBitmapBytes && std::ranges::all_of(bits, [](char c) { return c == '\xff'; })) {
    put_u8(out, kFullBitmap);
    return out;
  }
  out.reserve(1 + bits.size());
  put_u8(out, kVersion);
  out.append(bits);
  return out;
}

std::optional<std::string> decode_bitmap(std::string_view v) {
  if (v.size() == 1 && static_cast<uint8_t>(v[0]) == kFullBitmap) return std::string(kBitmapBytes, '\xff');
  if (v.size() != 1 + kBitmapBytes || static_cast<uint8_t>(v[0]) != kVersion) return std::nullopt;
  return std::string(v.substr(1));
}

std::string CrcChunk::encode() const {
  std::string out;
  put_u8(out, kVersion);
  for (size_t byte = 0; byte < 32; ++byte) {
    unsigned bits = 0;
    for (size_t i = 0; i < 8; ++i) bits |= known[byte * 8 + i] ? 1U << i : 0U;
    put_u8(out, static_cast<uint8_t>(bits));
  }
  for (size_t i = 0; i < known.size(); ++i) {
    if (known[i]) put_u32(out, crc[i]);
  }
  return out;
}

std::optional<CrcChunk> CrcChunk::decode(std::string_view v) {
  ByteReader r(v);
  if (r.u8() != kVersion) return std::nullopt;
  CrcChunk c;
  for (size_t byte = 0; byte < 32; ++byte) {
    const unsigned bits = r.u8();
    for (size_t i = 0; i < 8; ++i) c.known[byte * 8 + i] = (bits >> i & 1U) != 0;
  }
  for (size_t i = 0; i < c.known.size(); ++i) {
    if (c.known[i]) c.crc[i] = r.u32();
  }
  if (r.failed() || !r.at_end()) return std::nullopt;
  return c;
}

}  // namespace s3cache::meta
