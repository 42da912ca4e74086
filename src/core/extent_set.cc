#include "core/extent_set.h"

#include <algorithm>
#include <iterator>

namespace s3cache::core {

int64_t ExtentSet::add(int64_t offset, int64_t length) {
  if (length <= 0) return 0;
  int64_t begin = offset, end = offset + length, had = 0;
  auto it = ranges_.upper_bound(begin);
  if (it != ranges_.begin() && std::prev(it)->second >= begin) --it;
  while (it != ranges_.end() && it->first <= end) {
    had += std::max<int64_t>(0, std::min(it->second, offset + length) - std::max(it->first, offset));
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = ranges_.erase(it);
  }
  ranges_.emplace(begin, end);
  return length - had;
}

void ExtentSet::add(const ExtentSet& other) {
  for (const auto& [begin, end] : other.ranges_) add(begin, end - begin);
}

void ExtentSet::remove(int64_t offset, int64_t length) {
  if (length <= 0) return;
  const int64_t end = offset + length;
  auto it = ranges_.upper_bound(offset);
  if (it != ranges_.begin()) --it;
  while (it != ranges_.end() && it->first < end) {
    const auto [first, last] = *it;
    if (last <= offset) {
      ++it;
      continue;
    }
    it = ranges_.erase(it);
    if (first < offset) ranges_.emplace(first, offset);
    if (last > end) it = ranges_.emplace(end, last).first;
  }
}

bool ExtentSet::covers(int64_t offset, int64_t length) const {
  if (length <= 0) return true;
  auto it = ranges_.upper_bound(offset);
  return it != ranges_.begin() && std::prev(it)->second >= offset + length;
}

bool ExtentSet::touches(int64_t offset, int64_t length) const { return !inside(offset, length).empty(); }

std::vector<Range> ExtentSet::inside(int64_t offset, int64_t length) const {
  std::vector<Range> out;
  const int64_t end = offset + length;
  auto it = ranges_.upper_bound(offset);
  if (it != ranges_.begin()) --it;
  for (; it != ranges_.end() && it->first < end; ++it) {
    const int64_t from = std::max(it->first, offset), to = std::min(it->second, end);
    if (from < to) out.push_back({from, to - from});
  }
  return out;
}

std::vector<Range> ExtentSet::outside(int64_t offset, int64_t length) const {
  std::vector<Range> out;
  int64_t at = offset;
  for (const Range& r : inside(offset, length)) {
    if (r.offset > at) out.push_back({at, r.offset - at});
    at = r.offset + r.length;
  }
  if (at < offset + length) out.push_back({at, offset + length - at});
  return out;
}

std::vector<Range> ExtentSet::all() const {
  std::vector<Range> out;
  for (const auto& [begin, end] : ranges_) out.push_back({begin, end - begin});
  return out;
}

int64_t ExtentSet::bytes() const {
  int64_t sum = 0;
  for (const auto& [begin, end] : ranges_) sum += end - begin;
  return sum;
}

}  // namespace s3cache::core
