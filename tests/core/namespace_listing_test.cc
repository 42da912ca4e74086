#include <dirent.h>
#include <sys/stat.h>

#include "namespace_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using s3::Verb;

namespace {

std::string numbered(int i) {
  char buffer[16];
  snprintf(buffer, sizeof buffer, "f%05d", i);
  return buffer;
}

std::vector<std::string> names_of(const std::vector<std::pair<std::string, Listed>>& entries) {
  std::vector<std::string> out;
  for (const auto& [name, l] : entries) out.push_back(name);
  return out;
}

}  // namespace

TEST_CASE("10,000 objects are ten LISTs and no HEAD, then nothing, also after a remount") {
  NamespaceFixture f;
  for (int i = 0; i < 10'000; i++) f.put("d/" + numbered(i));
  const uint64_t d = f.ino_of("d");
  CHECK(f.requests() == Count{2, 0, 0});  // one for the name, one is the listing's first page
  const auto first = f.list(d);
  CHECK(first.size() == 10'000);
  CHECK(f.requests() == Count{9, 0, 0});
  CHECK(f.list(d) == first);
  CHECK_FALSE(f.lookup(d, "absent")->found);
  f.remount();
  CHECK(f.list(d) == first);
  CHECK_FALSE(f.lookup(d, "another")->found);
  CHECK(f.requests() == Count{0, 0, 0});
  f.pass_ttl();
  f.s3.erase("d/f00500");
  f.put("d/f00500x");
  f.put("d/zzz/y");
  auto second = f.list(d);
  CHECK(f.requests() == Count{11, 0, 0});
  CHECK(second.size() == 10'001);
  CHECK(second.contains("f00500x"));
  CHECK_FALSE(second.contains("f00500"));
  CHECK(second.at("f09999").ino == first.at("f09999").ino);
  CHECK(f.heard.removed("f00500"));
}

TEST_CASE("Names go out as pages arrive, and the next page is asked meanwhile") {
  NamespaceFixture f;
  for (int i = 0; i < 3'000; i++) f.put(numbered(i));
  f.s3.set_manual(true);
  const auto dir = f.opendir(f.kRoot);
  auto dots = std::make_shared<CollectSink>(10'000);
  CHECK(*f.readdir(dir, 0, true, dots));
  CHECK(names_of(dots->names) == std::vector<std::string>{".", ".."});
  auto sink = std::make_shared<CollectSink>(10'000);
  auto reply = f.start<bool>(
      [&](auto done) { f.names->readdir(dir, dots->names.back().second.cookie, true, sink, done); });
  REQUIRE(f.s3.wait_pending(1));
  REQUIRE(f.s3.release_next());
  CHECK(*f.await(std::move(reply)));
  CHECK(sink->names.size() == 1000);
  CHECK(f.s3.wait_pending(1));  // the second page is on its way although nobody waits
  f.s3.set_manual(false);
  CHECK(f.read_all(dir, sink->names.back().second.cookie).size() == 2000);
  CHECK(f.requests() == Count{3, 0, 0});
}

TEST_CASE("A listing nobody reads any more stops, and goes on for the next reader") {
  NamespaceFixture f;
  for (int i = 0; i < 9'000; i++) f.put(numbered(i));
  f.s3.set_manual(true);
  auto dir = f.opendir(f.kRoot);
  dir.reset();
  f.s3.set_manual(false);
  const size_t asked = f.requests().list;
  CHECK(asked <= 2);
  CHECK(f.list(f.kRoot).size() == 9'000);
  CHECK(f.requests() == Count{9 - asked, 0, 0});
}

TEST_CASE("Concurrent readers share a listing") {
  NamespaceFixture f;
  for (int i = 0; i < 2'000; i++) f.put(numbered(i));
  f.s3.set_manual(true);
  const auto a = f.opendir(f.kRoot), b = f.opendir(f.kRoot);
  f.s3.set_manual(false);
  CHECK(f.read_all(a).size() == 2'002);
  CHECK(f.read_all(b).size() == 2'002);
  CHECK(f.requests() == Count{2, 0, 0});
}

TEST_CASE("S3's order: files and directories interleave, each name once") {
  NamespaceFixture f;
  for (const char* key : {"a/1", "a-b", "a.txt", "a0", "b", "b/2", "A", "\xc3\xa9t\xc3\xa9", "a/2"})
    f.put(key);
  f.s3.set_page_size(2);
  const std::vector<std::string> want{"A", "a", "a-b", "a.txt", "a0", "b", "\xc3\xa9t\xc3\xa9"};
  for (const size_t room : {1, 2, 3, 100}) {
    CHECK(f.keys(f.list(f.kRoot, room)) == want);
    f.pass_ttl();
  }
}

TEST_CASE("What d_type and READDIRPLUS say without a HEAD") {
  NamespaceFixture f;
  f.put_large("large", 4096);
  f.put("small");
  f.put("dir/x");
  f.put("link", "t", {{"x-amz-meta-mode", "41471"}});
  auto listed = f.list(f.kRoot);
  CHECK(listed.at("large").d_type == DT_REG);
  CHECK(listed.at("small").d_type == DT_UNKNOWN);
  CHECK(listed.at("link").d_type == DT_UNKNOWN);
  CHECK(listed.at("dir").d_type == DT_DIR);
  for (const auto& [name, l] : listed) CHECK_FALSE(l.has_entry);
  for (const auto& [name, l] : listed) CHECK(f.lookup(f.kRoot, name)->found);
  f.requests();
  listed = f.list(f.kRoot);
  CHECK(listed.at("link").d_type == DT_LNK);
  CHECK(listed.at("small").d_type == DT_REG);
  for (const auto& [name, l] : listed) {
    CHECK(l.has_entry);
    CHECK(l.entry.attr.ino == l.ino);
    CHECK(l.entry.ttl_ms == f.options.ttl_ms);
  }
  CHECK(f.requests() == Count{0, 0, 0});
}

TEST_CASE("attr=list: READDIRPLUS is complete from the listing alone") {
  NamespaceFixture f({.attr = AttrMode::kList});
  f.put("small");
  f.put("dir/x");
  for (const auto& [name, l] : f.list(f.kRoot)) {
    CHECK(l.has_entry);
    CHECK(l.d_type != DT_UNKNOWN);
  }
  CHECK(f.requests() == Count{1, 0, 0});
}

TEST_CASE("Cookies: any place can be resumed, also behind names that are gone") {
  NamespaceFixture f;
  for (int i = 0; i < 3'000; i++) f.put(numbered(i));
  const auto dir = f.opendir(f.kRoot);
  const auto all = f.read_all(dir);
  REQUIRE(all.size() == 3'002);
  std::set<uint64_t> cookies;
  for (const auto& [name, l] : all) cookies.insert(l.cookie);
  CHECK(cookies.size() == all.size());
  for (const size_t at : {size_t{0}, size_t{1}, size_t{2}, size_t{700}, all.size() - 1}) {
    CHECK(f.read_all(dir, all[at].second.cookie).size() == all.size() - 1 - at);
  }
  // Another handle, so from the inode's record.
  REQUIRE_FALSE(f.read_all(f.opendir(f.kRoot), all[1500].second.cookie).empty());
  CHECK(f.read_all(f.opendir(f.kRoot), all[1500].second.cookie).front().first == all[1501].first);

  const auto again = f.opendir(f.kRoot);
  f.read_all(again);
  f.s3.erase(all[700].first);
  f.put(all[700].first + "-new");
  f.pass_ttl();
  f.list(f.kRoot);
  const auto resumed = f.read_all(again, all[700].second.cookie);
  REQUIRE_FALSE(resumed.empty());
  CHECK(resumed.front().first == all[700].first + "-new");
  CHECK(resumed.size() == all.size() - 701 + 1);
}

TEST_CASE("A rewound directory shows what changed past the TTL") {
  NamespaceFixture f;
  f.put("a");
  const auto dir = f.opendir(f.kRoot);
  CHECK(f.read_all(dir).size() == 3);
  f.put("b");
  CHECK(f.read_all(dir).size() == 3);
  f.pass_ttl();
  CHECK(f.read_all(dir).size() == 4);
}

TEST_CASE("A failed page is an error for the reader, and the next call goes on in its place") {
  NamespaceFixture f;
  for (int i = 0; i < 2'000; i++) f.put(numbered(i));
  std::atomic<bool> failing{true};
  f.s3.set_failure([&](const s3::RequestInfo& r) -> std::optional<Error> {
    if (failing && !r.list.continuation.empty()) return Error{Code::kUnavailable, "down"};
    return std::nullopt;
  });
  const auto dir = f.opendir(f.kRoot);
  uint64_t cookie = 0;
  size_t got = 0;
  for (;;) {
    auto sink = std::make_shared<CollectSink>(300);
    const auto more = f.readdir(dir, cookie, true, sink);
    if (!more.ok()) {
      CHECK(more.is(Code::kUnavailable));
      break;
    }
    got += sink->names.size();
    cookie = sink->names.back().second.cookie;
  }
  CHECK(got == 1'002);
  failing = false;
  CHECK(f.read_all(dir, cookie).size() == 1'000);
}

TEST_CASE("A listing asked before a younger answer does not undo it") {
  NamespaceFixture f;
  f.put("a", "old");
  f.put("gone", "x");
  f.list(f.kRoot);
  CHECK(f.lookup(f.kRoot, "a")->found);
  CHECK(f.lookup(f.kRoot, "gone")->found);
  f.requests();
  f.pass_ttl();
  f.s3.set_manual(true);
  const auto dir = f.opendir(f.kRoot);
  REQUIRE(f.s3.wait_pending(1));
  const auto listing = f.s3.pending().front().id;
  f.s3.freeze(listing);  // it will say "old" and "gone"
  f.put("a", "newer");
  f.s3.erase("gone");
  f.clock.advance_ms(10);
  auto a = f.start_lookup(f.kRoot, "a", 7);
  auto gone = f.start_lookup(f.kRoot, "gone", 8);
  while (f.s3.wait_pending(2)) {
    for (const auto& r : f.s3.pending()) {
      if (r.id != listing) f.s3.release(r.id);
    }
    if (a.wait_for(std::chrono::milliseconds(1)) == std::future_status::ready &&
        gone.wait_for(std::chrono::milliseconds(1)) == std::future_status::ready)
      break;
  }
  const auto version = f.await(std::move(a))->entry.version;
  CHECK_FALSE(f.await(std::move(gone))->found);
  f.s3.set_manual(false);
  CHECK(names_of(f.read_all(dir)) == std::vector<std::string>{".", "..", "a"});
  CHECK(f.lookup(f.kRoot, "a")->entry.version == version);
  CHECK_FALSE(f.lookup(f.kRoot, "gone")->found);
}

TEST_CASE("Cold lookups one by one turn into a listing, once") {
  NamespaceFixture f({.attr = AttrMode::kList});
  for (int i = 0; i < 500; i++) f.put("d/" + numbered(i));
  const uint64_t d = f.ino_of("d");
  f.requests();
  for (int i = 0; i < 8; i++) CHECK(f.lookup(d, numbered(i * 7))->found);
  CHECK(f.requests() == Count{9, 0, 0});
  for (int i = 0; i < 500; i++) CHECK(f.lookup(d, numbered(i))->found);
  CHECK_FALSE(f.lookup(d, "absent")->found);
  CHECK(f.requests() == Count{0, 0, 0});
}

TEST_CASE("The background listing of a huge directory stops after twenty pages") {
  NamespaceFixture f({.attr = AttrMode::kList});
  f.s3.set_page_size(10);
  for (int i = 0; i < 1'000; i++) f.put("d/" + numbered(i));
  const uint64_t d = f.ino_of("d");
  f.requests();
  for (int i = 0; i < 8; i++) CHECK(f.lookup(d, numbered(999 - i))->found);
  CHECK(f.requests() == Count{28, 0, 0});
}

TEST_CASE("An empty implicit directory is gone at the next lookup") {
  NamespaceFixture f({.attr = AttrMode::kList});
  f.put("d/x");
  const uint64_t d = f.ino_of("d");
  f.s3.erase("d/x");
  CHECK(f.list(d).empty());
  CHECK_FALSE(f.lookup(f.kRoot, "d")->found);
}

TEST_CASE("A warm directory of many names is read fast", "[.bench]") {
  NamespaceFixture f({.attr = AttrMode::kList});
  constexpr int kMany = 300'000;
  f.s3.set_page_size(1000);
  {
    meta::Batch batch;
    for (int i = 0; i < kMany; i++) {
      const uint64_t id = *f.store->next_id();
      meta::Inode inode;
      inode.parent = f.kRoot;
      inode.name = "file-" + numbered(i);
      inode.size = 100'000;
      inode.kind_known = true;
      inode.etag = "0123456789abcdef0123456789abcdef";
      inode.last_modified_s = f.clock.wall_s() - 100;
      meta::Dirent dirent;
      dirent.ino = id;
      dirent.checked_at_ns = f.clock.wall_ns();
      batch.put(meta::Table::kInode, meta::id_key(id), inode.encode());
      batch.put(meta::Table::kDirent, meta::dirent_key(f.kRoot, inode.name, false), dirent.encode());
      if (batch.size() > 2000) {
        REQUIRE(f.store->apply_durable(std::move(batch)).ok());
        batch = meta::Batch();
      }
    }
    meta::Dir dir;
    dir.complete = true;
    dir.listed_at_ns = f.clock.wall_ns();
    batch.put(meta::Table::kDir, meta::id_key(f.kRoot), dir.encode());
    REQUIRE(f.store->apply_durable(std::move(batch)).ok());
  }
  for (int round = 0; round < 2; round++) {
    const auto dir = f.opendir(f.kRoot);
    const auto began = std::chrono::steady_clock::now();
    uint64_t cookie = 0;
    size_t n = 0;
    for (bool more = true; more;) {
      auto sink = std::make_shared<CollectSink>(200);
      more = *f.readdir(dir, cookie, true, sink);
      n += sink->names.size();
      if (!sink->names.empty()) cookie = sink->names.back().second.cookie;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    WARN(static_cast<double>(n) / took.count() << " entries/s");
    CHECK(static_cast<double>(n) / took.count() > 150'000);
  }
}

TEST_CASE("The root's first page answers for its other names, or is not tried again") {
  NamespaceFixture f;
  f.put("old");
  for (int i = 0; i < 20; i++) CHECK_FALSE(f.lookup(f.kRoot, "new" + std::to_string(i))->found);
  CHECK(f.requests() == Count{1, 0, 0});
  NamespaceFixture large;
  large.s3.set_page_size(10);
  for (int i = 0; i < 30; i++) large.put("a" + std::to_string(i));
  for (int i = 0; i < 5; i++) CHECK_FALSE(large.lookup(large.kRoot, "new" + std::to_string(i))->found);
  CHECK(large.requests() == Count{6, 0, 0});
}

TEST_CASE("Who removes file after file is told names, everybody else attributes") {
  NamespaceFixture f;
  for (int i = 0; i < 6; i++) {
    f.put("d/f" + std::to_string(i), std::string(5000, 'x'), {{"x-amz-meta-mode", "33261"}});
  }
  const uint64_t d = f.ino_of("d");
  REQUIRE(f.keys(f.list(d)).size() == 6);
  f.requests();
  CHECK_FALSE(f.lookup(d, "f0", 7)->entry.guessed);
  f.names->removing(d, "f0");
  f.requests();
  for (const std::string name : {"f1", "f2"}) {
    const auto named = f.lookup(d, name, 7);
    CHECK(named->entry.guessed);
    CHECK(named->entry.attr.size == 5000);
    f.names->removing(d, name);
  }
  CHECK(f.requests() == Count{0, 0, 0});
  CHECK(f.lookup(d, "f3", 8)->entry.attr.mode == (S_IFREG | 0755));  // another thread
  const auto named = f.lookup(d, "f4", 7);
  CHECK(named->entry.guessed);
  CHECK(f.getattr(named->entry.attr.ino, 7)->attr.mode == (S_IFREG | 0755));
  const auto next = f.lookup(d, "f5", 7);
  CHECK_FALSE(next->entry.guessed);
  CHECK(next->entry.attr.mode == (S_IFREG | 0755));
}
