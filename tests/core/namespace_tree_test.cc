// A walk through a tree of cold directories: flat listings instead of one LIST a directory.
#include <dirent.h>

#include <random>
#include <thread>

#include "namespace_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using s3::Verb;

namespace {

std::string numbered(const std::string& what, int i) {
  char buffer[32];
  snprintf(buffer, sizeof buffer, "%s%04d", what.c_str(), i);
  return buffer;
}

using Tree = std::map<std::string, std::map<std::string, bool>>;  // path -> name -> is a directory

struct Walker : NamespaceFixture {
  explicit Walker(NamespaceOptions o = listed()) : NamespaceFixture(o) {}
  static NamespaceOptions listed() {
    NamespaceOptions o;
    o.attr = AttrMode::kList;
    return o;
  }

  void plant(const std::string& key) {
    put(key);
    bucket.insert(key);
  }
  void plant_many(const std::string& top, int dirs, int files) {
    for (int d = 0; d < dirs; d++)
      for (int i = 0; i < files; i++) plant(top + numbered("d", d) + "/" + numbered("f", i));
  }

  // As find: the names of a directory, then each sub-directory, LOOKUP and opendir.
  void walk(uint64_t ino, const std::string& path, Tree& seen) {
    auto& shown = seen[path];
    std::vector<std::pair<std::string, uint64_t>> below;
    for (const auto& [name, l] : read_all(opendir(ino))) {
      if (name == "." || name == "..") continue;
      INFO(path << name);
      REQUIRE(shown.emplace(name, l.d_type == DT_DIR).second);
      if (l.d_type == DT_DIR) below.emplace_back(name, l.ino);
    }
    for (const auto& [name, child] : below) {
      const auto found = lookup(ino, name);
      REQUIRE(found.ok());
      if (!found->found) continue;
      REQUIRE(found->entry.attr.ino == child);
      walk(child, path + name + "/", seen);
    }
  }
  Tree walk() {
    Tree seen;
    walk(kRoot, "", seen);
    return seen;
  }
  // What a walk has to show.
  Tree expected() const {
    Tree out;
    out[""];
    for (const std::string& key : bucket) {
      size_t from = 0;
      for (size_t slash; (slash = key.find('/', from)) != std::string::npos; from = slash + 1) {
        out[key.substr(0, from)].emplace(key.substr(from, slash - from), true);
        out[key.substr(0, slash + 1)];
      }
      if (from < key.size()) out[key.substr(0, from)][key.substr(from)] = false;
    }
    return out;
  }
  size_t flat_lists() {
    size_t n = 0;
    for (const auto& r : s3.requests())
      n += r.verb == Verb::kList && !r.list.delimiter && r.list.max_keys > 2;
    return n;
  }
  std::set<std::string> bucket;
};

}  // namespace

TEST_CASE("A walk over 200 cold directories of 20 files is a dozen LISTs, and nothing the next time") {
  const auto attr = GENERATE(AttrMode::kList, AttrMode::kHead);
  Walker f({.attr = attr});
  f.plant_many("t/", 200, 20);
  for (const auto& key : f.bucket) f.put_large(key, 5000);  // regular files, whatever attr says
  CHECK(f.walk() == f.expected());
  const Count cold = f.requests();
  INFO(cold);
  CHECK(cold.list <= 12);
  CHECK(cold.head == 0);
  CHECK(f.walk() == f.expected());
  CHECK(f.requests() == Count{0, 0, 0});
  f.remount();
  CHECK(f.walk() == f.expected());
  CHECK(f.requests() == Count{0, 0, 0});
  // Past the TTL, with changes: the same again.
  f.pass_ttl();
  f.s3.erase("t/d0100/f0003");
  f.bucket.erase("t/d0100/f0003");
  f.plant("t/d0150/new");
  f.plant("t/d0150/sub/new");
  for (int i = 0; i < 20; i++) {
    f.s3.erase(numbered("t/d0120/f", i));
    f.bucket.erase(numbered("t/d0120/f", i));
  }
  CHECK(f.walk() == f.expected());
  CHECK(f.requests().list <= 16);
}

TEST_CASE("A deep tree goes flat level by level") {
  Walker f;
  for (int a = 0; a < 8; a++)
    for (int b = 0; b < 12; b++) f.plant_many(numbered("a", a) + "/" + numbered("b", b) + "/", 6, 3);
  CHECK(f.walk() == f.expected());
  CHECK(f.requests().list <= 60);  // 681 directories, 1,728 keys
}

TEST_CASE("Directories with objects of their own, siblings that sort between, empty ones") {
  Walker f{NamespaceOptions{}};
  for (int d = 0; d < 30; d++) {
    const std::string dir = "t/" + numbered("d", d);
    f.s3.put(dir + "/", "", {{"x-amz-meta-mode", d % 2 == 0 ? "16832" : "16877"}});
    f.bucket.insert(dir + "/");
    if (d % 3 != 0) f.plant(dir + "/f");
    f.plant(dir + ".txt");
    f.plant(dir + "-x");
    f.plant(dir + "0");
  }
  f.put_large("t/x", 5000);
  f.bucket.insert("t/x");
  const Tree seen = f.walk();
  for (const auto& [path, names] : f.expected()) {
    INFO(path);
    std::set<std::string> have, want;
    for (const auto& [name, dir] : names) want.insert(name);
    REQUIRE(seen.contains(path));
    for (const auto& [name, dir] : seen.at(path)) have.insert(name);
    CHECK(have == want);
  }
  for (int d = 0; d < 30; d++) {
    const auto attr = f.lookup(f.ino_of("t"), numbered("d", d))->entry.attr;
    CHECK((attr.mode & 0777) == (d % 2 == 0 ? 0700U : 0755U));
  }
}

TEST_CASE("A walk that is given up costs two pages that nobody reads") {
  Walker f;
  f.plant_many("t/", 500, 20);
  f.s3.set_page_size(100);
  const uint64_t t = f.ino_of("t");
  f.list(t);
  f.requests();
  for (int d = 0; d < 4; d++) f.list(f.ino_of("t/" + numbered("d", d)));
  const auto c = f.requests();
  CHECK(c.list <= 3 + 3);
}

TEST_CASE("A tree that is known starts no flat listing, nor do lookups without a reader") {
  Walker f{NamespaceOptions{}};
  f.plant_many("t/", 50, 2);
  const uint64_t t = f.ino_of("t");
  f.requests();
  for (int d = 0; d < 50; d++) CHECK(f.lookup(t, numbered("d", d))->found);
  CHECK(f.flat_lists() == 0);
  f.requests();
  for (int d = 0; d < 50; d++) f.list(f.ino_of("t/" + numbered("d", d)));
  CHECK(f.flat_lists() == 0);
}

TEST_CASE("Large directories in the way: the flat listing steps aside, nothing is lost") {
  Walker f;
  f.plant_many("t/", 10, 3);
  for (int i = 0; i < 900; i++) f.plant("t/d0005/" + numbered("big", i));
  for (int i = 0; i < 700; i++) f.plant("t/d0007/" + numbered("sub", i) + "/x");
  f.s3.set_page_size(100);
  SECTION("read whole") {
    CHECK(f.walk() == f.expected());
    CHECK(f.requests().list <= 60);
  }
  SECTION("read to a depth") {
    const uint64_t t = f.ino_of("t");
    f.list(t);
    f.requests();
    size_t shown = 0;
    for (int d = 0; d < 10; d++) shown += f.list(f.ino_of("t/" + numbered("d", d))).size();
    CHECK(shown == 10 * 3 + 900 + 700);
    CHECK(f.requests().list <= 8 + 10 + 7 + 12);
  }
}

TEST_CASE("A flat listing asked before a younger answer does not undo it") {
  Walker f;
  f.plant_many("t/", 20, 5);
  const uint64_t t = f.ino_of("t");
  f.list(t);
  for (int d = 0; d < 3; d++) f.list(f.ino_of("t/" + numbered("d", d)));
  const uint64_t dir = f.ino_of("t/d0004");
  REQUIRE(f.lookup(dir, "f0001")->found);
  f.requests();
  f.clock.advance_ms(10);
  f.s3.set_manual(true);
  const auto reader = f.opendir(f.ino_of("t/d0003"));
  REQUIRE(f.s3.wait_pending(1));
  const auto flat = f.s3.pending().front();
  CHECK_FALSE(flat.list.delimiter);
  f.s3.freeze(flat.id);  // it will say t/d0004/f0001, and nothing of t/d0004/g
  f.s3.erase("t/d0004/f0001");
  f.put("t/d0004/g");
  f.clock.advance_ms(10);
  auto gone =
      f.start<Entry>([&](auto done) { f.names->revalidate(f.lookup(dir, "f0001")->entry.attr.ino, done); });
  auto made = f.start_lookup(dir, "g");
  REQUIRE(f.s3.wait_pending(3));
  for (const auto& r : f.s3.pending())
    if (r.id != flat.id) f.s3.release(r.id);
  CHECK(f.await(std::move(gone)).is(Code::kNotFound));
  CHECK(f.await(std::move(made))->found);
  f.s3.set_manual(false);
  CHECK(f.read_all(reader).size() == 7);
  const auto listed = f.list(dir);
  CHECK(listed.contains("g"));
  CHECK_FALSE(listed.contains("f0001"));
}

TEST_CASE("Servers a flat listing cannot use: every name is shown all the same") {
  Walker f;
  f.plant_many("t/", 60, 7);
  f.s3.set_page_size(50);
  SECTION("out of order") {
    f.s3.set_out_of_order(true);
    CHECK(f.walk() == f.expected());
  }
  SECTION("a start is refused") {
    f.s3.set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
      if (r.verb == Verb::kList && !r.list.start_after.empty())
        return Error{Code::kInvalid, "no start-after"};
      return std::nullopt;
    });
    CHECK(f.walk() == f.expected());
    CHECK(f.requests().list <= 65);  // asked once
  }
  SECTION("flat listings fail half-way") {
    f.s3.set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
      if (r.verb == Verb::kList && !r.list.delimiter && !r.list.continuation.empty())
        return Error{Code::kUnavailable, "down"};
      return std::nullopt;
    });
    CHECK(f.walk() == f.expected());
  }
}

namespace {

// Orders each page of a flat listing, but not the pages.
class Shards : public s3::S3Client {
 public:
  explicit Shards(s3::FakeS3& s3) : s3_(s3) {}
  s3::RequestId get(s3::GetRequest r, std::shared_ptr<s3::GetSink> s) override { return s3_.get(r, s); }
  s3::RequestId head(std::string k, s3::Priority p, s3::HeadCallback d) override { return s3_.head(k, p, d); }
  s3::RequestId list(s3::ListRequest r, s3::ListCallback done) override {
    if (r.delimiter || r.max_keys == 2) return s3_.list(r, done);
    const bool second = !r.continuation.empty();
    r.continuation.clear();
    r.max_keys = 1000;
    return s3_.list(r, [second, done](Result<s3::ListPage> page) {
      s3::ListPage part;
      for (size_t i = second ? 1 : 0; i < page->objects.size(); i += 2)
        part.objects.push_back(page->objects[i]);
      part.truncated = !second;
      part.next_token = second ? "" : "second";
      done(std::move(part));
    });
  }
  void cancel(s3::RequestId id) override { s3_.cancel(id); }
  void promote(s3::RequestId id) override { s3_.promote(id); }
  s3::Counters counters() const override { return s3_.counters(); }
  void shutdown() override { s3_.shutdown(); }

 private:
  s3::FakeS3& s3_;
};

}  // namespace

TEST_CASE("What a flat listing out of order called complete is so no more") {
  Walker f;
  f.plant_many("t/", 20, 6);
  Shards shards(f.s3);
  f.names = Namespace::make(*f.inodes, shards, nullptr, nullptr, f.clock, f.options);
  f.walk();  // may miss names: the server is believed until it contradicts itself
  REQUIRE(f.s3.wait_idle());
  CHECK(f.walk() == f.expected());
}

TEST_CASE("Readers of a walk, many at once, see every name once") {
  Walker f;
  f.plant_many("t/", 120, 9);
  f.s3.set_page_size(60);
  const uint64_t t = f.ino_of("t");
  std::vector<std::pair<std::string, uint64_t>> dirs;
  for (const auto& [name, l] : f.list(t)) dirs.emplace_back(name, l.ino);
  std::atomic<size_t> next{0}, bad{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 6; i++) {
    readers.emplace_back([&] {
      for (size_t at; (at = next++) < dirs.size();) {
        auto handle = f.names->opendir(dirs[at].second);
        if (!handle.ok()) {
          bad++;
          continue;
        }
        uint64_t cookie = 0;
        size_t got = 0;
        for (bool more = true; more;) {
          auto sink = std::make_shared<CollectSink>(5);
          auto reply = f.start<bool>([&](auto done) { f.names->readdir(*handle, cookie, true, sink, done); });
          const auto answer = reply.get();
          more = answer.ok() && *answer;
          if (!answer.ok()) bad++;
          got += sink->names.size();
          if (!sink->names.empty()) cookie = sink->names.back().second.cookie;
        }
        if (got != 11) bad++;
      }
    });
  }
  for (auto& reader : readers) reader.join();
  CHECK(bad == 0);
  CHECK(f.requests().list <= 100);
}
