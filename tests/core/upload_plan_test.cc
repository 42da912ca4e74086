#include "core/upload_plan.h"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace s3cache::core;

namespace {
constexpr int64_t MiB = 1 << 20;
}

TEST_CASE("the grid doubles its parts every tier, and the last one is as large as S3 allows") {
  const PartGrid grid(10 * MiB);
  CHECK(grid.at(0).number == 1);
  CHECK(grid.at(10 * MiB - 1).number == 1);
  CHECK(grid.at(10 * MiB).number == 2);
  CHECK(grid.at(10'000 * MiB).number == 1001);
  CHECK(grid.at(10'000 * MiB).length == 20 * MiB);
  CHECK(grid.capacity() >= int64_t{5} << 40);
  const auto last = grid.at(grid.capacity() - 1);
  CHECK(last.number == PartGrid::kMaxParts);
  CHECK(last.length == int64_t{5} << 30);
  CHECK(PartGrid(6 * MiB).capacity() >= int64_t{5} << 40);
}

TEST_CASE("the grid's cells follow one another without gaps, also over the edge of a tier") {
  const PartGrid grid(5 * MiB, 3);
  auto cell = grid.at(0);
  for (int i = 0; i < 20; ++i) {
    const auto next = grid.next(cell);
    CHECK(next.offset == cell.end());
    CHECK(grid.at(next.offset).number == next.number);
    CHECK(grid.at(next.end() - 1).number == next.number);
    cell = next;
  }
  CHECK(grid.at(15 * MiB).length == 10 * MiB);
}

TEST_CASE("one changed byte of a gigabyte sends one part, the rest is copied in large pieces") {
  const PartGrid grid(10 * MiB);
  ExtentSet changed;
  changed.add(500 * MiB, 1);
  const auto plan = plan_parts(grid, 1024 * MiB, 1024 * MiB, changed, 512 * MiB);
  int64_t sent = 0, at = 0;
  for (const PlannedPart& part : plan) {
    CHECK(part.offset == at);
    at += part.length;
    if (!part.copy) sent += part.length;
    CHECK(part.length >= (part.offset + part.length == 1024 * MiB ? 1 : 5 * MiB));
  }
  CHECK(at == 1024 * MiB);
  CHECK(sent == 10 * MiB);
  CHECK(plan.size() <= 4);
}

TEST_CASE("an append copies what is there and sends the tail") {
  const PartGrid grid(10 * MiB);
  ExtentSet changed;
  changed.add(100 * MiB, 1);
  const auto plan = plan_parts(grid, 100 * MiB + 1, 100 * MiB, changed, 512 * MiB);
  REQUIRE(plan.size() == 2);
  CHECK(plan[0] == PlannedPart{1, 0, 100 * MiB, true});
  CHECK(plan[1] == PlannedPart{11, 100 * MiB, 1, false});
}

TEST_CASE("bytes past the base never come from it, written or not") {
  const PartGrid grid(10 * MiB);
  const auto plan = plan_parts(grid, 30 * MiB, 15 * MiB, {}, 512 * MiB);
  REQUIRE(plan.size() == 3);
  CHECK(plan[0].copy);
  CHECK_FALSE(plan[1].copy);
  CHECK_FALSE(plan[2].copy);
}
