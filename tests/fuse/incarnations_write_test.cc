// What writers mean for nodeids.
#include "fuse/incarnations_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;
using Fixture = IncarnationsFixture;

TEST_CASE("a writer beside passthrough readers: a nodeid of its own, theirs is believed no more",
          "[incarnations]") {
  Fixture f;
  Handle* reader = f.open_passthrough(5, 1, 42);
  CHECK(f.table.attributes_last(5));
  CHECK_FALSE(f.table.superseded(5));
  CHECK(f.table.refuses_writer(5));
  CHECK(f.open_writer(5, 1).verdict == Verdict::kStale);
  const uint64_t fresh = *f.table.nodeid_for(5, 1);
  REQUIRE(fresh != 5);
  CHECK(f.table.superseded(5));
  CHECK_FALSE(f.table.refuses_writer(fresh));
  auto writer = f.open_writer(fresh, 1);
  REQUIRE(writer.verdict == Verdict::kCached);
  CHECK(f.stale == std::vector<uint64_t>{5});
  CHECK_FALSE(f.table.attributes_last(5));
  CHECK_FALSE(f.table.attributes_last(fresh));  // fchmod(2) of a reader's goes through 5
  // Core is asked for both: the version is the same and its attributes move.
  CHECK_FALSE(f.table.live_attr(5, uint64_t{1}).has_value());
  CHECK_FALSE(f.table.live_attr(5, /*only_retired=*/true).has_value());
  // Nobody joins the readers any more; who comes meanwhile or after joins the writer's.
  CHECK(f.open(5, 1, true).verdict == Verdict::kStale);
  auto joined = f.open(fresh, 1, true);
  REQUIRE(joined.verdict == Verdict::kCached);
  f.table.close(writer.handle);
  auto later = f.open(fresh, 1, true);
  REQUIRE(later.verdict == Verdict::kCached);
  f.table.close(joined.handle);
  f.table.close(later.handle);
  Handle* again = f.open_passthrough(fresh, 1, 43);
  CHECK(f.open(5, 1, true).verdict == Verdict::kStale);
  CHECK(f.stale.size() == 1);
  f.table.close(again);
  f.table.close(reader);
  CHECK(f.table.attributes_last(fresh));
}

TEST_CASE("what a write means for the pages of other nodeids", "[incarnations]") {
  Fixture f;
  auto cached = f.open(5, 1, false);
  REQUIRE(cached.verdict == Verdict::kCached);
  CHECK(f.open(5, 1, true).verdict == Verdict::kStale);
  const uint64_t second = *f.table.nodeid_for(5, 1);
  Handle* fast = f.open_passthrough(second, 1, 9);
  CHECK(f.open_writer(second, 1).verdict == Verdict::kStale);
  const uint64_t third = *f.table.nodeid_for(5, 1);
  auto writer = f.open_writer(third, 1);
  REQUIRE(writer.verdict == Verdict::kCached);
  CHECK(f.stale == std::vector<uint64_t>{5, second});
  f.table.content_changed(third);
  REQUIRE(f.drops.size() == 1);
  CHECK(f.drops[0].first == 5);
  // Dropped pages come back with the next read: they stay on record while the handle is open.
  f.table.pages_dropped(5, f.drops[0].second);
  f.table.content_changed(third);
  CHECK(f.drops.size() == 2);
  f.table.attributes_changed(second);
  CHECK(std::vector<uint64_t>(f.stale.begin() + 2, f.stale.end()) == std::vector<uint64_t>{5, third});
  // Another version is another file.
  const uint64_t other = *f.table.nodeid_for(5, 2);
  auto elsewhere = f.open(other, 2, false);
  REQUIRE(elsewhere.verdict == Verdict::kCached);
  f.table.content_changed(other);
  CHECK(f.drops.size() == 2);
  for (Handle* h : {cached.handle, fast, writer.handle, elsewhere.handle}) f.table.close(h);
}

TEST_CASE("changed by name under passthrough handles: no new open joins them", "[incarnations]") {
  Fixture f;
  Handle* a = f.open_passthrough(5, 1, 42);
  f.table.content_changed(5);
  CHECK(f.open(5, 1, true).verdict == Verdict::kStale);
  f.table.close(a);
  f.table.content_changed(6);  // nobody knows it: nothing to do
  CHECK(f.table.attributes_last(6));
  CHECK(f.drops.empty());
}

TEST_CASE("a writer alone costs nothing", "[incarnations]") {
  Fixture f;
  auto w = f.open_writer(5, 1);
  REQUIRE(w.verdict == Verdict::kCached);
  f.table.content_changed(5);
  CHECK(f.drops.empty());
  CHECK(f.stale.empty());
  auto r = f.open(5, 1, true);  // sealed by a race
  REQUIRE(r.verdict == Verdict::kCached);
  f.table.close(w.handle);
  f.table.close(r.handle);
  CHECK(f.table.stats().aliases == 0);
}

TEST_CASE("readers that come and go do not keep a refused writer out", "[incarnations]") {
  Fixture f(64 * 100, std::chrono::hours(1));
  Handle* reader = f.open_passthrough(5, 1, 42);
  const bool early = GENERATE(true, false);
  if (early) {
    CHECK(f.table.refuses_writer(5));
  } else {
    CHECK(f.open_writer(5, 1).verdict == Verdict::kStale);
  }
  SECTION("on the next nodeid") {
    const uint64_t fresh = *f.table.nodeid_for(5, 1);
    auto other = f.open(fresh, 1, true);
    CHECK(other.verdict == Verdict::kCached);
    f.table.close(other.handle);
    other = f.open(fresh, 1, true);
    CHECK(other.verdict == Verdict::kCached);
    auto writer = f.open_writer(fresh, 1);
    CHECK(writer.verdict == Verdict::kCached);
    f.table.close(other.handle);
    f.table.close(writer.handle);
    f.table.close(reader);
  }
  SECTION("on the plain one, after everything is closed") {
    f.table.close(reader);
    CHECK(*f.table.nodeid_for(5, 1) == 5);
    auto other = f.open(5, 1, true);
    CHECK(other.verdict == Verdict::kCached);
    auto writer = f.open_writer(5, 1);
    CHECK(writer.verdict == Verdict::kCached);
    f.table.close(other.handle);
    f.table.close(writer.handle);
  }
  CHECK(f.open(6, 1, true).verdict == Verdict::kRegister);  // another file's
}

TEST_CASE("a writer that is sent on finds no passthrough where it is sent", "[incarnations]") {
  Fixture f;
  Handle* old = f.open_passthrough(5, 1, 42);
  const uint64_t second = *f.table.nodeid_for(5, 2);
  Handle* present = f.open_passthrough(second, 2, 43);
  CHECK(f.table.refuses_writer(5));  // a path that still leads to the first
  const uint64_t third = *f.table.nodeid_for(5, 2);
  CHECK(third != second);
  auto writer = f.open_writer(third, 2);
  CHECK(writer.verdict == Verdict::kCached);
  for (Handle* h : {old, present, writer.handle}) f.table.close(h);
}
