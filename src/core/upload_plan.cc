#include "core/upload_plan.h"

#include <algorithm>

namespace s3cache::core {

PartGrid::Cell PartGrid::at(int64_t offset) const {
  int64_t begin = 0;
  for (int number = 1;; number += tier_) {
    const int64_t length = length_of(number), tier_bytes = length * tier_;
    if (offset < begin + tier_bytes || number + tier_ > kMaxParts) {
      const int64_t inside = (offset - begin) / length;
      return {number + static_cast<int>(inside), begin + inside * length, length};
    }
    begin += tier_bytes;
  }
}

PartGrid::Cell PartGrid::next(const Cell& cell) const {
  return {cell.number + 1, cell.end(), length_of(cell.number + 1)};
}

int64_t PartGrid::capacity() const {
  int64_t sum = 0;
  for (int number = 1; number <= kMaxParts; number += tier_)
    sum += length_of(number) * std::min(tier_, kMaxParts - number + 1);
  return sum;
}

std::vector<PlannedPart> plan_parts(const PartGrid& grid, int64_t size, int64_t base_len,
                                    const ExtentSet& changed, int64_t copy_bytes) {
  std::vector<PlannedPart> out;
  if (size <= 0) return out;
  for (auto cell = grid.at(0); cell.offset < size; cell = grid.next(cell)) {
    const int64_t length = std::min(cell.length, size - cell.offset);
    const bool clean = cell.offset + length <= base_len && !changed.touches(cell.offset, length);
    const bool joins = clean && !out.empty() && out.back().copy && out.back().length + length <= copy_bytes;
    if (joins) {
      out.back().length += length;
    } else {
      out.push_back({cell.number, cell.offset, length, clean});
    }
  }
  return out;
}

}  // namespace s3cache::core
