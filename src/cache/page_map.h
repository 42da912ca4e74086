// PageMap: which 4 KiB pages of one cache file hold valid bytes.
//
// A bitmap in chunks of 32 MiB (8,192 pages, 1 KiB), chunks allocated when first touched; a full chunk costs one flag. The
// last page of the file is valid when its bytes up to the file's size are. Not thread-safe: its CacheFile locks.
// Units: bytes for offsets and lengths.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace s3cache::cache {

inline constexpr int64_t kPage = 4096;
inline constexpr int64_t kChunk = 32 << 20;

struct Run {
  int64_t offset;
  int64_t length;
  bool operator==(const Run&) const = default;
};

class PageMap {
 public:
  explicit PageMap(int64_t size);  // the file's size; >= 0

  int64_t size() const { return size_; }
  // Every page that [offset, offset + length) touches (cut at size) is valid.
  bool covers(int64_t offset, int64_t length) const;
  // The invalid parts of the range, rounded out to pages (cut at size), ascending and not adjacent.
  std::vector<Run> missing(int64_t offset, int64_t length) const;
  // Marks the pages that lie wholly in the range; the file's last page counts as whole if the range reaches size.
  // Returns the number of bytes that became valid.
  int64_t mark(int64_t offset, int64_t length);
  // Clears every page the range touches. Returns the bytes that became invalid.
  int64_t clear(int64_t offset, int64_t length);
  bool full() const { return valid_bytes_ == size_; }
  int64_t valid_bytes() const { return valid_bytes_; }

  // For the store: the chunks changed since the last call (and clears that set), and one chunk as 1,024 bytes.
  std::vector<uint32_t> take_changed();
  std::string chunk_bits(uint32_t chunk) const;
  void load_chunk(uint32_t chunk, std::string_view bits);  // REQUIRES: bits.size() == 1024
  uint32_t chunk_count() const;

 private:
  // (the implementer fills this in)
  int64_t size_;
  int64_t valid_bytes_ = 0;
};

}  // namespace s3cache::cache
