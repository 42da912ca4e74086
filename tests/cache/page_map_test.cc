#include "cache/page_map.h"

#include <catch2/catch.hpp>
#include <random>

namespace s3cache::cache {
namespace {

// The slow and obvious PageMap.
class Model {
 public:
  explicit Model(int64_t size) : size_(size), valid_(static_cast<size_t>((size + kPage - 1) / kPage)) {}
  int64_t page_bytes(int64_t page) const { return std::min(kPage, size_ - page * kPage); }
  bool touches(int64_t page, int64_t offset, int64_t length) const {
    return length > 0 && page * kPage < offset + length && offset < page * kPage + page_bytes(page);
  }
  int64_t set(int64_t offset, int64_t length, bool value) {
    int64_t changed = 0;
    for (size_t i = 0; i < valid_.size(); i++) {
      const int64_t page = static_cast<int64_t>(i), begin = page * kPage;
      const bool whole = offset <= begin && begin + page_bytes(page) <= offset + length;
      if (!(value ? whole : touches(page, offset, length)) || valid_[i] == value) continue;
      valid_[i] = value;
      changed += page_bytes(page);
    }
    valid_bytes_ += value ? changed : -changed;
    return changed;
  }
  std::vector<Run> missing(int64_t offset, int64_t length) const {
    std::vector<Run> runs;
    for (size_t i = 0; i < valid_.size(); i++) {
      const int64_t page = static_cast<int64_t>(i);
      if (valid_[i] || !touches(page, offset, length)) continue;
      if (!runs.empty() && runs.back().offset + runs.back().length == page * kPage) {
        runs.back().length += page_bytes(page);
      } else {
        runs.push_back({page * kPage, page_bytes(page)});
      }
    }
    return runs;
  }
  int64_t valid_bytes() const { return valid_bytes_; }

 private:
  int64_t size_;
  int64_t valid_bytes_ = 0;
  std::vector<bool> valid_;
};

PageMap reloaded(const PageMap& map) {
  PageMap copy(map.size());
  for (uint32_t c = 0; c < map.chunk_count(); c++) copy.load_chunk(c, map.chunk_bits(c));
  return copy;
}

TEST_CASE("PageMap agrees with a vector of bool") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 rng(seed);
  for (const int64_t size : {int64_t{0}, int64_t{1}, kPage - 1, kPage, kPage + 1, 64 * kPage, 65 * kPage - 5,
                             int64_t{1} << 20, kChunk, kChunk + 1, 2 * kChunk + 3 * kPage + 77}) {
    CAPTURE(size);
    PageMap map(size);
    Model model(size);
    for (int step = 0; step < 150; step++) {
      int64_t offset = static_cast<int64_t>(rng() % static_cast<uint64_t>(size + 2 * kPage)) - kPage / 2;
      int64_t length =
          static_cast<int64_t>(rng() % static_cast<uint64_t>(step % 3 == 0 ? size + kPage : 40 * kPage));
      if (rng() % 2 == 0) offset = offset / kPage * kPage;
      if (rng() % 2 == 0) length = length / kPage * kPage;
      const bool value = rng() % 3 != 0;
      CAPTURE(offset, length, value);
      REQUIRE((value ? map.mark(offset, length) : map.clear(offset, length)) ==
              model.set(offset, length, value));
      const int64_t at = static_cast<int64_t>(rng() % static_cast<uint64_t>(size + 1));
      const int64_t n = static_cast<int64_t>(rng() % static_cast<uint64_t>(size + 1));
      REQUIRE(map.missing(at, n) == model.missing(at, n));
      REQUIRE(map.covers(at, n) == model.missing(at, n).empty());
      REQUIRE(map.valid_bytes() == model.valid_bytes());
      REQUIRE(map.full() == (model.valid_bytes() == size));
    }
    const PageMap copy = reloaded(map);
    REQUIRE(copy.missing(0, size) == model.missing(0, size));
    REQUIRE(copy.valid_bytes() == model.valid_bytes());
  }
}

TEST_CASE("PageMap reports changed chunks once, clears included") {
  PageMap map(3 * kChunk);
  CHECK(map.take_changed().empty());
  map.mark(2 * kChunk, kPage);
  map.mark(0, kPage);
  map.mark(0, kPage);
  CHECK(map.take_changed() == std::vector<uint32_t>{0, 2});
  CHECK(map.take_changed().empty());
  map.mark(0, kPage);    // nothing new
  map.clear(kChunk, 1);  // nothing there
  CHECK(map.take_changed().empty());
  map.clear(0, 1);
  CHECK(map.take_changed() == std::vector<uint32_t>{0});
  map.touch(1);
  CHECK(map.take_changed() == std::vector<uint32_t>{1});
}

TEST_CASE("PageMap ignores bits past the end of the file") {
  PageMap map(kPage + 10);
  map.load_chunk(0, std::string(1024, '\xff'));
  CHECK(map.valid_bytes() == kPage + 10);
  CHECK(map.full());
  std::string expected(1024, '\0');
  expected[0] = 3;
  CHECK(map.chunk_bits(0) == expected);
  map.load_chunk(0, std::string(1024, '\0'));  // replaces
  CHECK(map.valid_bytes() == 0);
}

TEST_CASE("A partial page at either end is not marked") {
  PageMap map(10 * kPage);
  CHECK(map.mark(1, 2 * kPage) == kPage);
  CHECK(map.missing(0, 4 * kPage) == std::vector<Run>{{0, kPage}, {2 * kPage, 2 * kPage}});
}

}  // namespace
}  // namespace s3cache::cache
