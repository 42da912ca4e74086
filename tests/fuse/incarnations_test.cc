#include "fuse/incarnations.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <random>
#include <thread>

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

class StubFile : public core::OpenFile {
 public:
  StubFile(uint64_t ino, uint64_t version, bool sealed, bool writable = false)
      : ino_(ino), version_(version), sealed_(sealed), writable_(writable) {
    ++alive;
  }
  ~StubFile() override { --alive; }
  uint64_t ino() const override { return ino_; }
  uint64_t version() const override { return version_; }
  core::Attr attr() const override {
    core::Attr a;
    a.ino = ino_;
    a.size = static_cast<int64_t>(version_);
    return a;
  }
  bool sealed() const override { return sealed_; }
  bool writable() const override { return writable_; }
  Result<int> backing_fd() override { return Error{Code::kUnsupported, "stub"}; }
  static std::atomic<int> alive;

 private:
  const uint64_t ino_, version_;
  const bool sealed_, writable_;
};
std::atomic<int> StubFile::alive{0};

struct Fixture {
  std::atomic<uint64_t> next{1000};
  Mutex mu;
  std::vector<std::pair<uint64_t, uint64_t>> drops;  // nodeid, stamp
  std::vector<uint64_t> stale;                       // attributes
  Incarnations table;
  explicit Fixture(size_t page_records = 64 * 100, std::chrono::milliseconds reservation = {})
      : table([this]() -> Result<uint64_t> { return ++next; },
              [this](uint64_t nodeid, uint64_t stamp) {
                MutexLock lock(mu);
                drops.emplace_back(nodeid, stamp);
              },
              [this](uint64_t nodeid) {
                MutexLock lock(mu);
                stale.push_back(nodeid);
              },
              page_records, reservation) {}

  Incarnations::Grant open(
      uint64_t nodeid, uint64_t version, bool sealed, std::function<void()> again = [] {}) {
    return table.open(nodeid, std::make_shared<StubFile>(table.ino_of(nodeid), version, sealed),
                      Incarnations::Io::kAny, again);
  }
  Incarnations::Grant open_writer(uint64_t nodeid, uint64_t version) {
    return table.open(nodeid, std::make_shared<StubFile>(table.ino_of(nodeid), version, false, true),
                      Incarnations::Io::kAny, [] {});
  }
  Handle* open_passthrough(uint64_t nodeid, uint64_t version, int32_t id) {
    auto g = open(nodeid, version, true);
    REQUIRE(g.verdict == Verdict::kRegister);
    table.registered(g.handle, id);
    return g.handle;
  }
};

}  // namespace

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
  CHECK(f.table.attributes_last(fresh));
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
