// PageMap: which 4 KiB pages of one cache file hold valid bytes.
//
// A bitmap in chunks of 32 MiB (8,192 pages, 1 KiB), chunks allocated when first touched; a full or an empty
// chunk costs one counter, and a small file's chunk only the words it needs (1 MiB: 32 bytes). The last page
// of the file is valid when its bytes up to the file's size are. Ranges may be negative, empty or reach past
// the end: they are cut.
//
// Threads: one at a time (its CacheFile locks). Owns its words. Errors: none. Units: bytes.
#pragma once

#include <cstdint>
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
  // Marks the pages that lie wholly in the range; the file's last page counts as whole if the range reaches
  // size. Returns the number of bytes that became valid.
  int64_t mark(int64_t offset, int64_t length);
  // Clears every page the range touches. Returns the bytes that became invalid.
  int64_t clear(int64_t offset, int64_t length);
  bool full() const { return valid_bytes_ == size_; }
  int64_t valid_bytes() const { return valid_bytes_; }

  // For the store: the chunks changed since the last call (and clears that set), and one chunk as 1,024
  // bytes.
  std::vector<uint32_t> take_changed();
  std::string chunk_bits(uint32_t chunk) const;
  // Replaces what is known of the chunk and does not count as a change. REQUIRES: bits.size() == 1024.
  void load_chunk(uint32_t chunk, std::string_view bits);
  // Reports the chunk by take_changed() again: the store did not take it.
  void touch(uint32_t chunk);
  uint32_t chunk_count() const;

 private:
  struct Chunk {
    std::unique_ptr<uint64_t[]> words;  // absent when no page or every page is valid
    uint32_t valid = 0;                 // pages
    bool changed = false;
  };
  struct Pages {
    int64_t first, end;
  };

  Pages touched(int64_t offset, int64_t length) const;
  uint32_t pages_in(uint32_t chunk) const;
  int64_t bytes_of(int64_t first_page, int64_t end_page) const;
  bool chunk_covers(uint32_t chunk, uint32_t first, uint32_t end) const;
  // The first page at or after `from` whose validity is `valid`; `end` when there is none before it.
  int64_t find(int64_t from, int64_t end, bool valid) const;
  Chunk& writable(uint32_t chunk);
  void settle(uint32_t chunk);
  int64_t set_range(Pages pages, bool valid);

  int64_t size_;
  int64_t pages_;
  int64_t valid_bytes_ = 0;
  std::vector<Chunk> chunks_;  // grown to the highest chunk that was ever touched
  std::vector<uint32_t> changed_;
};

}  // namespace s3cache::cache
