#include <random>
#include <thread>

#include "fuse/incarnations_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;
using Fixture = IncarnationsFixture;

TEST_CASE("a nodeid is the ino and leaves nothing behind after a passthrough open", "[incarnations]") {
  Fixture f;
  CHECK(*f.table.nodeid_for(5, 1) == 5);
  CHECK(f.table.stats().records == 0);
  Handle* h = f.open_passthrough(5, 1, 42);
  CHECK(f.table.stats().records == 1);
  CHECK(f.table.close(h) == 42);
  CHECK(f.table.stats().records == 0);
  CHECK(StubFile::alive == 0);
}

TEST_CASE("one backing id an incarnation, given back at the last close", "[incarnations]") {
  Fixture f;
  Handle* a = f.open_passthrough(5, 1, 42);
  auto b = f.open(5, 1, true);
  REQUIRE(b.verdict == Verdict::kJoin);
  CHECK(b.backing_id == 42);
  auto c = f.open(5, 1, false);  // evicted meanwhile
  REQUIRE(c.verdict == Verdict::kJoin);
  CHECK(f.table.close(b.handle) == 0);
  CHECK(f.table.close(a) == 0);
  CHECK(f.table.close(c.handle) == 42);
}

TEST_CASE("sealed under a cached handle: ESTALE, a new nodeid, and the way back", "[incarnations]") {
  Fixture f;
  auto old = f.open(5, 1, false);
  REQUIRE(old.verdict == Verdict::kCached);
  CHECK(f.open(5, 1, true).verdict == Verdict::kStale);
  const uint64_t fresh = *f.table.nodeid_for(5, 1);
  CHECK(fresh == 1001);
  CHECK(*f.table.nodeid_for(5, 1) == fresh);
  CHECK(f.table.ino_of(fresh) == 5);
  Handle* h = f.open_passthrough(fresh, 1, 9);
  CHECK(h->ino == 5);
  CHECK(f.open(5, 1, true).verdict == Verdict::kStale);  // the retired one stays retired
  CHECK(f.table.close(h) == 9);
  f.table.close(old.handle);
  CHECK(*f.table.nodeid_for(5, 1) == fresh);  // three lookups by now
  f.table.forget(fresh, 2);
  CHECK(f.table.stats().aliases == 1);
  f.table.forget(fresh, 1);
  CHECK(f.table.stats().aliases == 0);
  // The plain nodeid still has pages and is retired: it may not come back yet.
  CHECK(*f.table.nodeid_for(5, 1) == 1002);
}

TEST_CASE("a new version is a new nodeid while handles or pages of the old one are there", "[incarnations]") {
  Fixture f;
  SECTION("live handle") {
    Handle* h = f.open_passthrough(5, 1, 42);
    const uint64_t fresh = *f.table.nodeid_for(5, 2);
    CHECK(fresh != 5);
    // The old nodeid answers the old version's attributes, the new one core's.
    CHECK(f.table.live_attr(5, uint64_t{2})->size == 1);
    CHECK(f.table.live_attr(5, /*only_retired=*/true)->size == 1);
    CHECK_FALSE(f.table.live_attr(fresh, uint64_t{2}).has_value());
    CHECK(f.open(5, 2, true).verdict == Verdict::kStale);
    CHECK(f.open(5, 1, true).verdict == Verdict::kJoin);  // its own file, by /proc/self/fd
    Handle* n = f.open_passthrough(fresh, 2, 43);
    CHECK(f.table.close(n) == 43);
    CHECK(f.table.close(h) == 0);  // one more joined above
  }
  SECTION("pages only") {
    f.table.close(f.open(5, 1, false).handle);
    CHECK(*f.table.nodeid_for(5, 1) == 5);
    CHECK(*f.table.nodeid_for(5, 2) != 5);
  }
  SECTION("GETATTR sees it first") {
    auto g = f.open(5, 1, false);
    CHECK(f.table.live_attr(5, uint64_t{2})->size == 1);
    CHECK(*f.table.nodeid_for(5, 2) != 5);
    f.table.close(g.handle);
  }
  SECTION("nothing left: the nodeid stays") {
    f.table.close(f.open_passthrough(5, 1, 42));
    CHECK(*f.table.nodeid_for(5, 2) == 5);
  }
}

TEST_CASE("an open by the plain nodeid is refused while a successor stands", "[incarnations]") {
  Fixture f;
  Handle* h = f.open_passthrough(5, 1, 42);
  const uint64_t fresh = *f.table.nodeid_for(5, 2);
  f.table.close(h);
  CHECK(f.open(5, 2, true).verdict == Verdict::kStale);
  f.table.forget(fresh, 1);
  CHECK(f.open(5, 2, true).verdict == Verdict::kRegister);
}

TEST_CASE("openers wait for a registration and share its outcome", "[incarnations]") {
  Fixture f;
  auto first = f.open(5, 1, true);
  REQUIRE(first.verdict == Verdict::kRegister);
  int resumed = 0;
  CHECK(f.open(5, 1, true, [&] { ++resumed; }).verdict == Verdict::kWait);
  CHECK(f.open(5, 1, true, [&] { ++resumed; }).verdict == Verdict::kWait);
  SECTION("it works") {
    f.table.registered(first.handle, 42);
    CHECK(resumed == 2);
    auto g = f.open(5, 1, true);
    CHECK(g.verdict == Verdict::kJoin);
    CHECK(g.backing_id == 42);
    f.table.close(g.handle);
    CHECK(f.table.close(first.handle) == 42);
  }
  SECTION("it fails: cached for all, until the last close") {
    f.table.registered(first.handle, 0);
    CHECK(resumed == 2);
    auto g = f.open(5, 1, true);
    CHECK(g.verdict == Verdict::kCached);
    f.table.close(g.handle);
    CHECK(f.table.close(first.handle) == 0);
    CHECK(f.open(5, 1, true).verdict == Verdict::kRegister);
  }
}

TEST_CASE("page records are bounded and dropped only when the kernel has dropped the pages",
          "[incarnations]") {
  Fixture f(64);  // one a shard
  std::vector<uint64_t> inos;
  for (uint64_t ino = 2; ino < 402; ++ino) f.table.close(f.open(ino, 1, false).handle);
  CHECK(f.table.stats().page_records <= 64);
  CHECK(f.table.stats().records == 400);
  REQUIRE(f.drops.size() == 400 - f.table.stats().page_records);
  const auto [nodeid, stamp] = f.drops[0];
  CHECK(*f.table.nodeid_for(nodeid, 2) != nodeid);  // not trusted yet
  const auto [used, used_stamp] = f.drops[1];
  auto g = f.open(used, 1, false);
  for (auto [n, st] : f.drops) f.table.pages_dropped(n, st);
  CHECK(*f.table.nodeid_for(used, 1) == used);
  f.table.close(g.handle);
  f.table.pages_dropped(used, used_stamp);  // an old answer after a new use: ignored
  CHECK(*f.table.nodeid_for(used, 2) != used);
}

TEST_CASE("no next id: the lookup fails, nothing is mixed", "[incarnations]") {
  Incarnations table(
      []() -> Result<uint64_t> {
        return Error{Code::kIo, "full"};
      },
      [](uint64_t, uint64_t) {}, [](uint64_t) {}, 100);
  auto g = table.open(5, std::make_shared<StubFile>(5, 1, false), Incarnations::Io::kAny, [] {});
  CHECK(table.nodeid_for(5, 2).is(Code::kIo));
  table.close(g.handle);
}

TEST_CASE("handles never released are freed with the table", "[incarnations]") {
  {
    Fixture f;
    f.open(5, 1, false);
    f.open(5, 1, false);
    f.open(6, 1, false);
    CHECK(StubFile::alive == 3);
  }
  CHECK(StubFile::alive == 0);
}

TEST_CASE("threads: no handle sees another version's file and every backing id comes back",
          "[incarnations]") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  Fixture f(128);
  std::atomic<int32_t> ids{0};
  std::atomic<int> out{0};
  std::atomic<bool> bad{false};
  std::array<std::atomic<uint64_t>, 8> version{};
  auto worker = [&](unsigned n) {
    std::mt19937 rng(seed + n);
    for (int i = 0; i < 4000; ++i) {
      const uint64_t ino = 2 + rng() % version.size();
      if (rng() % 50 == 0) ++version[ino - 2];
      const uint64_t v = version[ino - 2];
      auto nodeid = f.table.nodeid_for(ino, v);
      auto file = std::make_shared<StubFile>(ino, v, rng() % 3 != 0);
      auto g = f.table.open(*nodeid, file, Incarnations::Io::kAny, [] {});
      if (g.verdict == Verdict::kRegister) {
        const int32_t id = rng() % 10 == 0 ? 0 : ++ids;
        if (id != 0) ++out;
        f.table.registered(g.handle, id);
      }
      if (g.handle != nullptr) {
        if (g.handle->file->version() != v || g.handle->ino != ino) bad = true;
        if (f.table.close(g.handle) != 0) --out;
      }
      if (*nodeid != ino) f.table.forget(*nodeid, 1);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < 4; ++n) threads.emplace_back(worker, n);
  for (auto& t : threads) t.join();
  CHECK_FALSE(bad);
  CHECK(out == 0);
  CHECK(f.table.stats().aliases == 0);
  CHECK(f.table.stats().open_handles == 0);
  CHECK(StubFile::alive == 0);
}
