// ExtentSet: a set of bytes as sorted, disjoint, never adjacent ranges.
//
// Which bytes of a work file are valid, which of them S3 lacks. Sequential writers make one range of it, so
// it stays short; random ones cost a map node each. Threads: one at a time (its Draft locks). Errors: none;
// empty and negative ranges change nothing. Units: bytes.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "cache/page_map.h"

namespace s3cache::core {

using Range = cache::Run;

class ExtentSet {
 public:
  // Returns how many of the bytes were not in it before.
  int64_t add(int64_t offset, int64_t length);
  void add(const ExtentSet& other);
  void remove(int64_t offset, int64_t length);
  void clear() { ranges_.clear(); }

  bool empty() const { return ranges_.empty(); }
  bool covers(int64_t offset, int64_t length) const;
  bool touches(int64_t offset, int64_t length) const;
  // The parts of [offset, offset + length) that are in it, or not, ascending.
  std::vector<Range> inside(int64_t offset, int64_t length) const;
  std::vector<Range> outside(int64_t offset, int64_t length) const;
  std::vector<Range> all() const;
  int64_t bytes() const;
  // One past the last byte; 0 when empty.
  int64_t end() const { return ranges_.empty() ? 0 : ranges_.rbegin()->second; }

 private:
  std::map<int64_t, int64_t> ranges_;  // begin -> end
};

}  // namespace s3cache::core
