// Upload plan: how the content of a file becomes parts of one multipart upload.
//
// The grid is fixed by the first part's size alone, so that parts can go up before anybody knows how long the
// file will be: every thousand parts the size doubles. With 10 MiB that is 10,000 parts for 10 TB, and the
// last tier's parts are 5 GiB, S3's limit for one. Parts of a multipart upload need not be equal, and numbers
// may be left out, so a clean stretch becomes one large server-side copy under the number of its first cell.
//
// Threads: pure functions. Units: bytes; part numbers from 1.
#pragma once

#include <cstdint>
#include <vector>

#include "core/extent_set.h"

namespace s3cache::core {

class PartGrid {
 public:
  static constexpr int kTier = 1000;  // parts of one size
  static constexpr int kMaxParts = 10'000;

  explicit PartGrid(int64_t first_part_bytes, int tier = kTier) : first_(first_part_bytes), tier_(tier) {}

  struct Cell {
    int number;
    int64_t offset;
    int64_t length;
    int64_t end() const { return offset + length; }
  };
  // The cell that holds the byte, as if the file had no end.
  Cell at(int64_t offset) const;
  Cell next(const Cell& cell) const;
  // Bytes that fit into kMaxParts.
  int64_t capacity() const;

 private:
  int64_t length_of(int number) const { return first_ << ((number - 1) / tier_); }

  const int64_t first_;
  const int tier_;
};

struct PlannedPart {
  int number = 0;
  int64_t offset = 0;
  int64_t length = 0;
  bool copy = false;  // the bytes are those of the base version at the same place
  bool operator==(const PlannedPart&) const = default;
};

// Parts of a file of `size` bytes whose bytes below base_len are the base version's unless they are in
// `changed`. Copies are merged up to copy_bytes. Empty for an empty file. REQUIRES: size <= grid.capacity().
std::vector<PlannedPart> plan_parts(const PartGrid& grid, int64_t size, int64_t base_len,
                                    const ExtentSet& changed, int64_t copy_bytes);

}  // namespace s3cache::core
