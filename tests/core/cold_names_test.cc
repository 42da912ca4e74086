// max_stat_cache_size: cold names are forgotten, nothing else is.
#include <thread>

#include "core_fixture.h"
#include "namespace_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using meta::Table;

namespace {

constexpr int64_t kHour = 3'600'000;

struct Budgeted : NamespaceFixture {
  explicit Budgeted(int64_t limit) : NamespaceFixture(with(limit)) {
    for (int d = 0; d < 10; d++)
      for (int i = 0; i < 50; i++) put(name("d", d) + "/" + name("f", i));
  }
  static NamespaceOptions with(int64_t limit) {
    NamespaceOptions o;
    o.attr = AttrMode::kList;
    o.max_entries = limit;
    return o;
  }
  static std::string name(const char* what, int i) { return what + std::to_string(100 + i); }

  size_t known(Table table = Table::kInode) {
    REQUIRE(store->flush().ok());
    return store->stats().entries[static_cast<size_t>(table)];
  }
  // Until there is nothing to do, as the janitor would.
  void tend() {
    REQUIRE(store->flush().ok());
    for (int i = 0; i < 300; i++) names->tend();
  }
  // It has a cache file: it stays, and so does its directory.
  void keep(uint64_t ino) {
    const auto cached = [](meta::Inode& inode, meta::Batch&) {
      inode.fid = 77;
      return true;
    };
    REQUIRE(inodes->update(ino, cached).ok());
  }
  void list_all() {
    list(kRoot);
    for (int d = 0; d < 10; d++) list(ino_of(name("d", d)));
  }
};

}  // namespace

TEST_CASE("Past the limit cold names go, those of a directory in use stay, and all can be asked again") {
  Budgeted f(200);
  f.list_all();
  CHECK(f.known() == 511);
  f.tend();
  CHECK(f.known() == 511);  // nothing is cold yet
  f.clock.advance_ms(700'000);
  f.list(f.ino_of("d105"));
  f.requests();
  f.tend();
  CHECK(f.known() <= 200);
  CHECK(f.known(Table::kDirent) <= 200);
  CHECK(f.list(f.ino_of("d105")).size() == 50);
  CHECK(f.requests() == Count{0, 0, 0});
  size_t all = 0;
  for (int d = 0; d < 10; d++) all += f.list(f.ino_of(f.name("d", d))).size();
  CHECK(all == 500);
  CHECK(f.keys(f.list(f.kRoot)).size() == 10);
}

TEST_CASE("A directory that lost names is not complete: an absent name is asked, a present one found") {
  Budgeted f(20);
  f.list_all();
  f.clock.advance_ms(120'000);  // inside the TTL still
  f.tend();
  REQUIRE(f.known() < 100);
  f.put("d103/new");
  const uint64_t again = f.ino_of("d103");
  f.requests();
  CHECK(f.lookup(again, "f111")->found);
  CHECK(f.lookup(again, "new")->found);
  CHECK_FALSE(f.lookup(again, "absent")->found);
  CHECK(f.requests().list == 3);
}

TEST_CASE("Under the limit, or without one, nothing is forgotten") {
  const int64_t limit = GENERATE(-1, 511);
  Budgeted f(limit);
  f.list_all();
  f.clock.advance_ms(48 * kHour);
  f.tend();
  CHECK(f.known() == 511);
}

TEST_CASE("What is local, cached, pinned, dirty or open is never forgotten") {
  Budgeted f(0);
  f.list_all();
  const auto change = [&](const std::string& path, const Inodes::Change& c) {
    const uint64_t ino = f.ino_of(path);
    REQUIRE(f.inodes->update(ino, c).ok());
    return ino;
  };
  const uint64_t local = change("d101/f101", [](meta::Inode& i, meta::Batch&) {
    i.source = meta::AttrSource::kLocal;
    return true;
  });
  const uint64_t cached = change("d102/f101", [](meta::Inode& i, meta::Batch&) {
    i.fid = 77;
    return true;
  });
  const uint64_t dirty = change("d103/f101", [&](meta::Inode&, meta::Batch& b) {
    b.put(Table::kDirty, meta::id_key(f.ino_of("d103/f101")) + std::string(8, '\0'), "x");
    return true;
  });
  const uint64_t pinned = f.ino_of("d104/f101");
  meta::Dirent pin;
  pin.ino = pinned;
  pin.checked_at_ns = INT64_MAX;
  meta::Dirent tombstone = pin;
  tombstone.ino = 0;
  meta::Batch batch;
  batch.put(Table::kDirent, meta::dirent_key(f.ino_of("d104"), "f101", false), pin.encode());
  batch.put(Table::kDirent, meta::dirent_key(f.ino_of("d104"), "deleted", false), tombstone.encode());
  f.store->apply(std::move(batch));
  const uint64_t made = change("d105", [](meta::Inode& i, meta::Batch&) {
    i.source = meta::AttrSource::kLocal;
    return true;
  });
  f.clock.advance_ms(100 * kHour);
  const auto open = f.opendir(f.ino_of("d106"));
  auto sink = std::make_shared<CollectSink>(10);
  REQUIRE(*f.readdir(open, 0, true, sink));
  f.clock.advance_ms(2 * kHour);
  f.tend();
  for (const uint64_t ino : {local, cached, dirty, pinned, made}) CHECK(f.inodes->get(ino).ok());
  for (const char* kept : {"d101", "d102", "d103", "d104", "d105", "d106"}) {
    INFO(kept);
    CHECK(f.store->get(Table::kDirent, meta::dirent_key(f.kRoot, kept, true))->has_value());
  }
  CHECK_FALSE(f.store->get(Table::kDirent, meta::dirent_key(f.kRoot, "d109", true))->has_value());
  CHECK(f.store->get(Table::kDirent, meta::dirent_key(f.inodes->get(pinned)->parent, "deleted", false))
            ->has_value());
  CHECK(f.known() == 1 + 6 + 50 + 4);  // the root, the directories, those of d106, four files
  CHECK(sink->names.size() + f.read_all(open, sink->names.back().second.cookie).size() == 52);
}

TEST_CASE("A listing during which names were forgotten does not call the directory complete") {
  Budgeted f(0);
  f.s3.set_page_size(10);
  f.list_all();
  const uint64_t d = f.ino_of("d103");
  f.keep(f.ino_of("d103/f149"));
  f.clock.advance_ms(f.options.ttl_ms + 2 * kHour);
  // Cold names begin a listing that nobody reads; its first pages are merged, the last ones wait.
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  std::vector<std::future<Result<LookupReply>>> lookups;
  for (int i = 0; i < 8; i++) lookups.push_back(f.start_lookup(d, f.name("x", i)));
  REQUIRE(f.s3.wait_pending(9));
  for (int i = 0; i < 9; i++) f.s3.release_next();
  for (auto& l : lookups) CHECK_FALSE(f.await(std::move(l))->found);
  REQUIRE(f.s3.wait_pending(1));
  f.clock.advance_ms(300'000);
  f.tend();
  f.clock.advance_ms(1000);
  f.s3.set_manual(false);
  REQUIRE(f.s3.wait_idle());
  f.requests();
  for (int i = 0; i < 50; i++) {
    INFO(i);
    CHECK(f.lookup(d, f.name("f", i))->found);
  }
}

TEST_CASE("A listing that rests does not go on where names were forgotten") {
  Budgeted f(0);
  f.s3.set_page_size(10);
  const uint64_t d = f.ino_of("d103");
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  auto dir = f.opendir(d);
  REQUIRE(f.s3.release_next());
  auto sink = std::make_shared<CollectSink>(2);
  REQUIRE(f.readdir(dir, 0, true, sink).ok());
  sink = std::make_shared<CollectSink>(8);
  REQUIRE(f.readdir(dir, 2, true, sink).ok());
  REQUIRE(sink->names.size() == 8);
  f.keep(sink->names[0].second.ino);
  dir.reset();
  f.s3.set_manual(false);
  REQUIRE(f.s3.wait_idle());
  f.clock.advance_ms(120'000);
  f.tend();
  REQUIRE(f.ino_of("d103") == d);
  CHECK(f.list(d).size() == 50);
}

TEST_CASE("Names go while others read, look up and list: no name is ever missing") {
  Budgeted f(50);
  f.list_all();
  std::atomic<bool> stop{false};
  std::atomic<int> absent{0}, failed{0}, short_of{0}, rounds{0};
  std::vector<std::thread> users;
  for (uint32_t tid = 1; tid <= 3; tid++) {
    users.emplace_back([&, tid] {
      for (uint32_t n = tid; !stop; n++) {
        const std::string dir = Budgeted::name("d", static_cast<int>(n % 10));
        const auto reply = f.start_lookup(f.kRoot, dir, tid).get();
        if (!reply.ok() || !reply->found) {
          (reply.ok() ? absent : failed)++;
          continue;
        }
        const uint64_t ino = reply->entry.attr.ino;
        auto handle = f.names->opendir(ino);
        if (!handle.ok()) continue;  // forgotten in between: the kernel walks again
        size_t got = 0;
        uint64_t cookie = 0;
        bool ok = true;
        for (bool more = true; more && ok;) {
          auto sink = std::make_shared<CollectSink>(20);
          auto answer =
              f.start<bool>([&](auto done) { f.names->readdir(*handle, cookie, true, sink, done); }).get();
          ok = answer.ok();
          more = ok && *answer;
          got += sink->names.size();
          if (!sink->names.empty()) cookie = sink->names.back().second.cookie;
        }
        if (ok && got != 52) short_of++;
        rounds++;
      }
    });
  }
  while (rounds < 600) {
    f.clock.advance_ms(90'000);
    for (int i = 0; i < 10; i++) f.names->tend();
  }
  stop = true;
  for (auto& u : users) u.join();
  CHECK(absent == 0);
  CHECK(failed == 0);
  CHECK(short_of == 0);
}

TEST_CASE("Cached data and open files outlive the forgetting of their directory's names") {
  auto options = CoreFixture::defaults();
  options.names.max_entries = 0;
  CoreFixture f(options);
  f.put_pattern("cached", 100'000);
  for (int i = 0; i < 300; i++) f.put("other" + std::to_string(i), "x");
  auto file = f.open("cached");
  REQUIRE(file.ok());
  file = Error{Code::kStale, ""};
  for (int i = 0; i < 300; i++)
    CHECK(f.wait<LookupReply>([&](auto done) {
             f.fs->names().lookup({1}, meta::kRootIno, "other" + std::to_string(i), done);
           })->found);
  const auto known = [&] {
    REQUIRE(f.store->flush().ok());
    return f.store->stats().entries[static_cast<size_t>(Table::kInode)];
  };
  REQUIRE(f.s3->wait_idle());
  f.clock.advance_ms(100 * kHour);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (known() > 302 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  f.s3->clear_requests();
  auto again = f.open("cached");
  REQUIRE(again.ok());
  CHECK(CoreFixture::is_pattern(*f.read(*again, 0, 100'000), 0));
  CHECK(f.s3->count(s3::Verb::kGet) == 0);
}
