#include "core/extent_set.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

using s3cache::core::ExtentSet;
using s3cache::core::Range;

TEST_CASE("ranges merge with what they touch") {
  ExtentSet set;
  CHECK(set.add(10, 10) == 10);
  CHECK(set.add(30, 10) == 10);
  CHECK(set.add(20, 10) == 10);
  CHECK(set.all() == std::vector<Range>{{10, 30}});
  CHECK(set.add(0, 100) == 70);
  CHECK(set.bytes() == 100);
  CHECK(set.end() == 100);
}

TEST_CASE("a range taken out of the middle leaves two") {
  ExtentSet set;
  set.add(0, 100);
  set.remove(40, 20);
  CHECK(set.all() == std::vector<Range>{{0, 40}, {60, 40}});
  CHECK(set.outside(0, 100) == std::vector<Range>{{40, 20}});
  CHECK(set.inside(30, 40) == std::vector<Range>{{30, 10}, {60, 10}});
  CHECK_FALSE(set.covers(30, 20));
  CHECK(set.covers(60, 40));
  CHECK(set.touches(59, 2));
  CHECK_FALSE(set.touches(40, 20));
}

// Against the plainest model there is: one flag a byte.
TEST_CASE("a thousand random changes agree with a bitmap") {
  constexpr int64_t kBytes = 300;
  std::mt19937 rng(7);
  ExtentSet set;
  std::vector<bool> model(kBytes);
  for (int round = 0; round < 1000; ++round) {
    const auto at = static_cast<int64_t>(rng() % kBytes);
    const auto n = static_cast<int64_t>(rng() % 40) % (kBytes - at + 1);
    const bool add = rng() % 2 == 0;
    int64_t fresh = 0;
    for (int64_t i = at; i < at + n; ++i) {
      fresh += !model[static_cast<size_t>(i)];
      model[static_cast<size_t>(i)] = add;
    }
    if (add) {
      REQUIRE(set.add(at, n) == fresh);
    } else {
      set.remove(at, n);
    }
    int64_t covered = 0;
    for (const Range& r : set.all()) {
      covered += r.length;
      for (int64_t i = r.offset; i < r.offset + r.length; ++i) REQUIRE(model[static_cast<size_t>(i)]);
    }
    REQUIRE(covered == std::count(model.begin(), model.end(), true));
    for (size_t i = 1; i < set.all().size(); ++i)
      REQUIRE(set.all()[i].offset > set.all()[i - 1].offset + set.all()[i - 1].length);
  }
}
