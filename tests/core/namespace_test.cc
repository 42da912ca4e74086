#include <sys/stat.h>

#include "namespace_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using s3::Verb;

TEST_CASE("A cold name costs one LIST, and none inside the TTL") {
  NamespaceFixture f({.attr = AttrMode::kList});
  f.put("file", "12345");
  f.put("dir/child");
  const auto file = f.lookup(f.kRoot, "file");
  REQUIRE(file->found);
  CHECK(file->entry.attr.size == 5);
  CHECK(file->entry.attr.mode == (S_IFREG | 0640));
  CHECK(file->entry.ttl_ms == f.options.ttl_ms);
  CHECK(f.requests() == Count{1, 0, 0});
  // The first name of the root was answered by a page that held them all.
  CHECK((f.lookup(f.kRoot, "dir")->entry.attr.mode & S_IFMT) == S_IFDIR);
  CHECK_FALSE(f.lookup(f.kRoot, "absent")->found);
  CHECK(f.requests() == Count{0, 0, 0});

  f.clock.advance_s(100);
  CHECK(f.lookup(f.kRoot, "file")->entry.attr.ino == file->entry.attr.ino);
  CHECK(f.lookup(f.kRoot, "file")->entry.ttl_ms == f.options.ttl_ms - 100'000);
  CHECK(f.lookup(f.kRoot, "dir")->found);
  CHECK_FALSE(f.lookup(f.kRoot, "absent")->found);
  CHECK(f.lookup(f.kRoot, "absent")->ttl_ms == f.options.ttl_ms - 100'000);
  f.remount();
  CHECK(f.lookup(f.kRoot, "file")->entry.attr.ino == file->entry.attr.ino);
  CHECK(f.lookup(f.kRoot, "dir")->found);
  CHECK_FALSE(f.lookup(f.kRoot, "absent")->found);
  CHECK(f.requests() == Count{0, 0, 0});
}

TEST_CASE("A name hidden behind a page of siblings costs a second LIST") {
  NamespaceFixture f;
  f.s3.set_page_size(10);
  for (int i = 0; i < 15; i++) f.put("d/name-" + std::to_string(i));
  f.put("e/name/x");
  for (int i = 0; i < 15; i++) f.put("e/name-" + std::to_string(i));
  const uint64_t d = f.ino_of("d"), e = f.ino_of("e");
  f.requests();
  CHECK_FALSE(f.lookup(d, "name")->found);
  CHECK(f.requests() == Count{2, 0, 0});
  CHECK_FALSE(f.lookup(d, "name")->found);
  CHECK(f.requests() == Count{0, 0, 0});
  // Two for the name, one to see whether the directory has an object of its own.
  CHECK((f.lookup(e, "name")->entry.attr.mode & S_IFMT) == S_IFDIR);
  CHECK(f.requests() == Count{3, 0, 0});
}

TEST_CASE("Without a negative cache an absent name is asked again") {
  NamespaceFixture f({.negative_cache = false});
  CHECK_FALSE(f.lookup(f.kRoot, "absent")->found);
  CHECK(f.lookup(f.kRoot, "absent")->ttl_ms == 0);
  CHECK(f.requests() == Count{2, 0, 0});
}

TEST_CASE("A small object's attributes come with its GET, a large one's with a HEAD") {
  NamespaceFixture f;
  f.put("small", "abc", {{"x-amz-meta-mode", "33261"}, {"x-amz-meta-uid", "7"}});
  f.put_large("large", 2 << 20);
  f.put("refused");
  const auto small = f.lookup(f.kRoot, "small");
  CHECK(small->entry.attr.mode == (S_IFREG | 0755));
  CHECK(small->entry.attr.uid == 7);
  CHECK(f.requests() == Count{1, 0, 1});
  f.names->opened({1}, small->entry.attr.ino);
  CHECK(f.lookup(f.kRoot, "large")->entry.attr.size == 2 << 20);
  CHECK(f.requests() == Count{0, 1, 0});
  f.prober.refuse = true;
  f.names->opened({1}, f.ino_of("large"));
  CHECK(f.lookup(f.kRoot, "refused")->found);
  CHECK(f.requests() == Count{0, 1, 0});
  f.remount();
  CHECK(f.lookup(f.kRoot, "small")->entry.attr.uid == 7);
  CHECK(f.getattr(f.ino_of("large"))->attr.size == 2 << 20);
  CHECK(f.requests() == Count{0, 0, 0});
}

TEST_CASE("attr=list asks no HEAD, also past the TTL") {
  NamespaceFixture f({.attr = AttrMode::kList, .default_uid = 5, .default_file_mode = 0444});
  f.put("small", "abc", {{"x-amz-meta-mode", "33261"}, {"x-amz-meta-uid", "7"}});
  CHECK(f.lookup(f.kRoot, "small")->entry.attr.uid == 5);
  f.pass_ttl();
  CHECK(f.lookup(f.kRoot, "small")->entry.attr.mode == (S_IFREG | 0444));
  CHECK(f.requests() == Count{2, 0, 0});
}

namespace {

// A file and a directory that are known, and a clock past their TTL.
struct PastTtl : NamespaceFixture {
  PastTtl() {
    put("file", "one");
    put("dir/x");
    before = lookup(kRoot, "file")->entry;
    dir = ino_of("dir");
    pass_ttl();
    requests();
  }
  void pin_file() {
    auto pinned = inodes->update(before.attr.ino, [](meta::Inode& inode, meta::Batch&) {
      inode.fid = 77;
      return true;
    });
    REQUIRE(pinned.ok());
  }
  Entry before;
  uint64_t dir = 0;
};

}  // namespace

TEST_CASE("Past the TTL a known object costs a HEAD, a known directory a small LIST") {
  PastTtl f;
  const auto after = f.lookup(f.kRoot, "file")->entry;
  CHECK(f.requests() == Count{0, 1, 0});
  CHECK(after.version == f.before.version);
  CHECK(after.attr.ino == f.before.attr.ino);
  CHECK_FALSE(f.heard.changed(f.before.attr.ino));
  CHECK(f.lookup(f.kRoot, "dir")->entry.attr.ino == f.dir);
  CHECK(f.requests() == Count{1, 0, 0});
  CHECK(f.s3.requests().empty());
}

TEST_CASE("Past the TTL what is gone or became something else is resolved as a cold name") {
  PastTtl f;
  SECTION("the object is gone: resolved as a cold name") {
    f.s3.erase("file");
    f.pass_ttl();
    CHECK_FALSE(f.lookup(f.kRoot, "file")->found);
    CHECK(f.requests() == Count{1, 1, 0});
    CHECK(f.heard.removed("file"));
    CHECK(f.getattr(f.before.attr.ino).is(Code::kStale));
  }
  SECTION("the file became a directory: a new inode") {
    f.s3.erase("file");
    f.put("file/x");
    f.pass_ttl();
    const auto now = f.lookup(f.kRoot, "file");
    CHECK((now->entry.attr.mode & S_IFMT) == S_IFDIR);
    CHECK(now->entry.attr.ino != f.before.attr.ino);
  }
  SECTION("the directory is gone, and its names are collected") {
    f.list(f.dir);
    f.s3.erase("dir/x");
    f.pass_ttl();
    f.requests();
    CHECK_FALSE(f.lookup(f.kRoot, "dir")->found);
    CHECK(f.requests() == Count{2, 0, 0});
    CHECK_FALSE(f.names->opendir(f.dir).ok());
    f.list(f.kRoot);
    REQUIRE(f.s3.wait_idle());  // names are collected after the readers were answered
    CHECK(f.store->flush().ok());
    size_t left = 0;
    const auto count = [&left](std::string_view, std::string_view) {
      left++;
      return true;
    };
    CHECK(f.store->scan(meta::Table::kDirent, "", "", 100, count).ok());
    CHECK(left == 1);  // "file"
  }
}

TEST_CASE("Past the TTL new content is a new version, new attributes are not") {
  PastTtl f;
  SECTION("the content changed") {
    f.pin_file();
    f.put("file", "two!");
    f.pass_ttl();
    const auto now = f.lookup(f.kRoot, "file")->entry;
    CHECK(now.attr.ino == f.before.attr.ino);
    CHECK(now.version != f.before.version);
    CHECK(now.attr.size == 4);
    CHECK(f.inodes->get(f.before.attr.ino)->fid == 0);
    CHECK(f.heard.changed(f.before.attr.ino));
  }
  SECTION("only the attributes changed: pages stay") {
    f.pin_file();
    f.put("file", "one", {{"x-amz-meta-mode", "33152"}});
    f.pass_ttl();
    const auto now = f.lookup(f.kRoot, "file")->entry;
    CHECK(now.version == f.before.version);
    CHECK(now.attr.mode == (S_IFREG | 0600));
    CHECK(f.inodes->get(f.before.attr.ino)->fid == 77);
    CHECK(f.heard.changed(f.before.attr.ino));
  }
}

TEST_CASE("A HEAD within two seconds of the object's birth is asked once more") {
  NamespaceFixture f;
  s3::FakeS3::Object young;
  young.data = "x";
  young.size = 1;
  young.etag = "e";
  young.last_modified = f.clock.wall_s();
  f.s3.put_object("d/young", young);
  const uint64_t d = f.ino_of("d");
  const uint64_t ino = f.ino_of("d/young");
  CHECK(f.inodes->get(ino)->source == meta::AttrSource::kHeadYoung);
  f.names->opened({1}, ino);
  f.pass_ttl();
  f.list(d);  // the listing says that nothing changed, which is not enough
  f.requests();
  CHECK(f.lookup(d, "young")->found);
  CHECK(f.inodes->get(ino)->source == meta::AttrSource::kHead);
  f.requests();
  f.pass_ttl();
  f.list(d);
  f.requests();
  CHECK(f.lookup(d, "young")->found);
  CHECK(f.requests() == Count{0, 0, 0});
}

TEST_CASE("Concurrent lookups of one name share their requests") {
  NamespaceFixture f;
  f.put("name");
  f.s3.set_manual(true);
  std::vector<std::future<Result<LookupReply>>> replies;
  for (uint32_t tid = 1; tid <= 5; tid++) replies.push_back(f.start_lookup(f.kRoot, "name", tid));
  REQUIRE(f.s3.wait_pending(1));
  CHECK(f.s3.pending().size() == 1);
  f.s3.set_manual(false);
  for (auto& reply : replies) CHECK(f.await(std::move(reply))->found);
  CHECK(f.requests() == Count{1, 0, 1});
}

TEST_CASE("A file beside a directory of its name wins, and is listed once") {
  NamespaceFixture f;
  f.put("x", "file");
  f.put("x-y");
  f.put("x/inner");
  CHECK((f.lookup(f.kRoot, "x")->entry.attr.mode & S_IFMT) == S_IFREG);
  const auto listed = f.list(f.kRoot);
  CHECK(f.keys(listed) == std::vector<std::string>{"x", "x-y"});
  CHECK(listed.at("x").ino == f.ino_of("x"));
  f.s3.erase("x");
  f.pass_ttl();
  CHECK((f.lookup(f.kRoot, "x")->entry.attr.mode & S_IFMT) == S_IFDIR);
  CHECK(f.keys(f.list(f.kRoot)) == std::vector<std::string>{"x", "x-y"});
}

TEST_CASE("Directories take their attributes from their own object") {
  NamespaceFixture f;
  f.put("own/", "", {{"x-amz-meta-mode", "448"}, {"x-amz-meta-uid", "3"}});
  f.put("own/x");
  f.put("implicit/x");
  const auto own = f.lookup(f.kRoot, "own")->entry.attr;
  CHECK(own.mode == (S_IFDIR | 0700));
  CHECK(own.uid == 3);
  CHECK(own.size == 4096);
  CHECK(f.requests() == Count{2, 1, 0});
  const auto implicit = f.lookup(f.kRoot, "implicit")->entry.attr;
  CHECK(implicit.mode == (S_IFDIR | 0750));
  CHECK(implicit.mtime_ns == 0);
  CHECK(f.requests() == Count{1, 0, 0});
  CHECK(f.keys(f.list(own.ino)) == std::vector<std::string>{"x"});
  CHECK(f.requests() == Count{0, 0, 0});  // the page that told was the whole listing
  f.remount();
  CHECK(f.getattr(own.ino)->attr.uid == 3);
  CHECK(f.getattr(implicit.ino)->attr.mode == (S_IFDIR | 0750));
  CHECK(f.requests() == Count{0, 0, 0});
  f.pass_ttl();
  CHECK(f.getattr(own.ino)->attr.uid == 3);
  CHECK(f.requests() == Count{1, 0, 0});
}

TEST_CASE("An object without a slash that says it is a directory is one") {
  NamespaceFixture f;
  f.put("old", "", {{"content-type", "application/x-directory"}, {"x-amz-meta-mode", "16877"}});
  f.put("old/x");
  const auto old = f.lookup(f.kRoot, "old")->entry.attr;
  CHECK(old.mode == (S_IFDIR | 0755));
  CHECK(f.keys(f.list(old.ino)) == std::vector<std::string>{"x"});
  CHECK(f.keys(f.list(f.kRoot)) == std::vector<std::string>{"old"});
  CHECK(f.ino_of("old") == old.ino);
  f.s3.erase("old/x");
  f.pass_ttl();
  CHECK(f.list(f.kRoot).at("old").ino == old.ino);
  CHECK(f.ino_of("old") == old.ino);
}

TEST_CASE("Symlinks: the target is read once and its length is the size") {
  NamespaceFixture f;
  f.put("link", "  target ", {{"x-amz-meta-mode", "41471"}});
  f.put("plain", "x");
  const auto link = f.lookup(f.kRoot, "link")->entry.attr;
  CHECK(link.mode == (S_IFLNK | 0777));
  f.requests();
  CHECK(*f.readlink(link.ino) == "target");
  CHECK(f.requests() == Count{0, 0, 1});
  f.remount();
  CHECK(*f.readlink(link.ino) == "target");
  CHECK(f.getattr(link.ino)->attr.size == 6);
  CHECK(f.requests() == Count{0, 0, 0});
  CHECK(f.readlink(f.ino_of("plain")).is(Code::kInvalid));
  f.put("link", "elsewhere", {{"x-amz-meta-mode", "41471"}});
  f.pass_ttl();
  CHECK(f.lookup(f.kRoot, "link")->entry.attr.size == 9);
  CHECK(*f.readlink(link.ino) == "elsewhere");
}

TEST_CASE("expire and revalidate ask the server whatever the TTL says") {
  NamespaceFixture f;
  f.put("d/a", "one");
  const uint64_t d = f.ino_of("d");
  f.list(d);
  const uint64_t a = f.ino_of("d/a");
  f.requests();
  CHECK(f.revalidate(a)->attr.size == 3);
  CHECK(f.requests() == Count{0, 1, 0});
  f.put("d/a", "other");
  f.names->expire(a);
  CHECK(f.getattr(a)->attr.size == 5);
  CHECK(f.requests() == Count{0, 1, 0});
  CHECK(f.getattr(a)->attr.size == 5);
  CHECK(f.requests() == Count{0, 0, 0});
  f.s3.erase("d/a");
  CHECK(f.revalidate(a).is(Code::kNotFound));
}

TEST_CASE("ext tells xattrs and kept headers") {
  NamespaceFixture f;
  f.put("a", "x",
        {{"cache-control", "no-store"}, {"x-amz-meta-xattr", "%7B%7D"}, {"x-amz-meta-mode", "33188"}});
  f.list(f.kRoot);
  const uint64_t ino = f.list(f.kRoot).at("a").ino;
  f.requests();
  const auto ext = f.await(f.start<meta::Ext>([&](auto done) { f.names->ext(ino, done); }));
  CHECK(f.requests() == Count{0, 1, 0});
  CHECK(ext->xattrs == "%7B%7D");
  REQUIRE(ext->headers.size() == 1);
  CHECK(ext->headers[0].second == "no-store");
}

TEST_CASE("An object that may not be read is shown, unreadable") {
  NamespaceFixture f;
  f.put_large("secret", 2 << 20);
  f.s3.set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
    if (r.verb == Verb::kHead) return Error{Code::kAccessDenied, "denied"};
    return std::nullopt;
  });
  CHECK(f.lookup(f.kRoot, "secret")->entry.attr.mode == (S_IFREG | 0400));
}

TEST_CASE("Errors of the server reach the caller and are not remembered") {
  NamespaceFixture f;
  f.put("a");
  f.s3.set_failure([](const s3::RequestInfo&) {
    return std::optional<Error>(Error{Code::kUnavailable, "down"});
  });
  CHECK(f.lookup(f.kRoot, "a").is(Code::kUnavailable));
  CHECK(f.lookup(f.kRoot, "b").is(Code::kUnavailable));
  f.s3.set_failure(nullptr);
  CHECK(f.lookup(f.kRoot, "a")->found);
  CHECK_FALSE(f.lookup(f.kRoot, "b")->found);
}

TEST_CASE("stat_cache_interval_expire counts from the last use") {
  NamespaceFixture f({.attr = AttrMode::kList, .ttl_since_access = true});
  f.put("used");
  f.put("unused");
  const uint64_t ino = f.ino_of("used");
  CHECK(f.ino_of("unused") != 0);
  for (int i = 0; i < 4; i++) {
    f.clock.advance_ms(f.options.ttl_ms / 2);
    CHECK((i % 2 == 0 ? f.lookup(f.kRoot, "used").ok() : f.getattr(ino).ok()));
  }
  CHECK(f.requests() == Count{1, 0, 0});
  CHECK(f.lookup(f.kRoot, "unused")->found);
  CHECK(f.requests() == Count{1, 0, 0});
}

TEST_CASE("With a TTL of 0 every lookup and every opendir asks") {
  NamespaceFixture f({.ttl_ms = 0});
  f.put("d/a");
  const uint64_t a = f.ino_of("d/a");
  f.requests();
  CHECK(f.getattr(a).ok());
  CHECK(f.requests() == Count{0, 1, 0});
  const uint64_t d = f.ino_of("d");
  const auto x = f.opendir(d), y = f.opendir(d);
  CHECK(f.read_all(x).size() == 3);
  CHECK(f.read_all(y).size() == 3);
  f.put("d/b");
  CHECK(f.list(d).size() == 2);
}

TEST_CASE("Names that cannot be") {
  NamespaceFixture f;
  f.put("file");
  CHECK(f.lookup(f.kRoot, std::string(256, 'n')).is(Code::kNameTooLong));
  CHECK(f.lookup(999, "x").is(Code::kStale));
  CHECK(f.lookup(f.ino_of("file"), "x").is(Code::kNotDirectory));
}
