#include "core/attributes.h"

#include <dirent.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

using namespace s3cache;
using namespace s3cache::core;
using meta::AttrSource;
using meta::Inode;
using meta::Kind;

namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

Inode headed(Headers headers, int64_t size = 10, const std::string& key = "k",
             NamespaceOptions options = {}) {
  s3::ObjectInfo info;
  info.size = size;
  info.etag = "e";
  info.last_modified = 1000;
  info.server_date = 2000;
  info.headers = std::move(headers);
  Inode inode = new_file(1, "k", {key, size, "e", 1000});
  apply_head(inode, info, key, options);
  return inode;
}

}  // namespace

TEST_CASE("Numbers and times as the headers write them") {
  CHECK(parse_number("33188", 10) == 33188);
  CHECK(parse_number("100644", 8) == 0100644);
  CHECK(parse_number("0x1F", 0) == 31);
  CHECK(parse_number("010", 0) == 8);
  CHECK(parse_number("0", 0) == 0);
  for (const char* bad : {"", "x", "-1", "1x", "99999999999"}) CHECK_FALSE(parse_number(bad, 0));
  CHECK(parse_time_ns("1795360464.621279235") == 1795360464621279235);
  CHECK(parse_time_ns("5") == 5'000'000'000);
  CHECK(parse_time_ns("5.123") == 5'123'000'000);  // a fraction, not 123 ns
  CHECK(parse_time_ns("5.1234567891") == 5'123'456'789);
  for (const char* bad : {"", ".5", "5.x", "x", "99999999999999999999"}) CHECK_FALSE(parse_time_ns(bad));
}

TEST_CASE("Mode, owner and times: precedence and fall-backs") {
  CHECK(headed({{"x-amz-meta-mode", "33261"}, {"x-amz-meta-permissions", "33188"}}).mode == (S_IFREG | 0755));
  CHECK(headed({{"x-amz-meta-permissions", "33188"}}).mode == (S_IFREG | 0644));
  CHECK(headed({{"x-amz-meta-goog-reserved-posix-mode", "600"}}).mode == (S_IFREG | 0600));
  CHECK(headed({{"x-amz-meta-mode", "junk"}}).mode == 0);
  CHECK(headed({{"x-amz-meta-mode", "32768"}}).mode == (S_IFREG | 0400));
  CHECK(headed({{"x-amz-meta-mode", "493"}}, 0, "d/").mode == (S_IFDIR | 0755));

  const Inode owned = headed({{"x-amz-meta-owner", "7"}}, 10, "k", {.default_gid = 9});
  CHECK(owned.has_owner);
  CHECK(owned.uid == 7);
  CHECK(owned.gid == 9);
  CHECK_FALSE(headed({}).has_owner);

  const Inode timed = headed({{"x-amz-meta-mtime", "5.5"}, {"x-amz-meta-goog-reserved-file-mtime", "6"}});
  CHECK(timed.mtime_ns == 5'500'000'000);
  CHECK(timed.ctime_ns == 1000'000'000'000);
  CHECK(headed({{"x-amz-meta-goog-reserved-file-mtime", "6"}}).mtime_ns == 6'000'000'000);
}

TEST_CASE("Kinds: bytes are never hidden") {
  CHECK(headed({{"x-amz-meta-mode", "41471"}}).kind == Kind::kSymlink);
  CHECK(headed({{"x-amz-meta-mode", "41471"}}, 4096).kind == Kind::kFile);
  CHECK(headed({{"x-amz-meta-mode", "4516"}}, 0).kind == Kind::kSpecial);
  CHECK(headed({{"content-type", "application/x-directory; charset=UTF-8"}}, 0).kind == Kind::kDirectory);
  CHECK(headed({{"content-type", "httpd/unix-directory"}}, 1).kind == Kind::kFile);
  CHECK(headed({}, 5, "d/").kind == Kind::kDirectory);
}

TEST_CASE("What a listing line changes") {
  Inode inode = headed({{"x-amz-meta-mode", "33261"}});
  inode.fid = 5;
  SECTION("nothing") {
    CHECK(apply_listed(inode, {"k", 10, "e", 1000}) == Change::kNone);
    CHECK(inode.source == AttrSource::kHead);
  }
  SECTION("a server that leaves the ETag or the time out of its listing") {
    CHECK(apply_listed(inode, {"k", 10, "", 1000}) == Change::kNone);
    CHECK(apply_listed(inode, {"k", 10, "e", 0}) == Change::kNone);
    CHECK(inode.etag == "e");
    CHECK(inode.last_modified_s == 1000);
  }
  SECTION("the time: attributes go, pages stay") {
    CHECK(apply_listed(inode, {"k", 10, "e", 1001}) == Change::kAttributes);
    CHECK(inode.source == AttrSource::kListing);
    CHECK(inode.mode == 0);
    CHECK(inode.fid == 5);
  }
  SECTION("the ETag or the size: pages go too") {
    CHECK(apply_listed(inode, {"k", 10, "f", 1000}) == Change::kContent);
    CHECK(inode.fid == 0);
    inode.fid = 6;
    CHECK(apply_listed(inode, {"k", 11, "f", 1000}) == Change::kContent);
    CHECK(inode.fid == 0);
    CHECK(inode.base_len == 11);
  }
  SECTION("without ETags size and time decide") {
    inode.etag.clear();
    CHECK(apply_listed(inode, {"k", 10, "", 1001}) == Change::kContent);
    CHECK(inode.fid == 0);
  }
  SECTION("what was set here and not uploaded yet stays") {
    inode.source = AttrSource::kLocal;
    CHECK(apply_listed(inode, {"k", 99, "z", 1}) == Change::kNone);
  }
}

TEST_CASE("A HEAD is final when the server's clock was two seconds past the object") {
  s3::ObjectInfo info;
  info.etag = "e";
  info.last_modified = 1000;
  Inode inode = new_file(1, "k", {"k", 0, "e", 1000});
  for (const auto& [date, source] :
       {std::pair{int64_t{1001}, AttrSource::kHeadYoung}, std::pair{int64_t{1002}, AttrSource::kHead},
        std::pair{int64_t{0}, AttrSource::kHeadYoung}}) {
    info.server_date = date;
    apply_head(inode, info, "k", {});
    CHECK(inode.source == source);
  }
}

TEST_CASE("Versions: equal for equal content only") {
  Inode a = new_file(1, "k", {"k", 10, "e", 1000}), b = a;
  b.last_modified_s = 5;
  CHECK(version_of(a) == version_of(b));
  b.size = 11;
  CHECK(version_of(a) != version_of(b));
  b = a;
  b.etag = "f";
  CHECK(version_of(a) != version_of(b));
  a.etag.clear();
  b = a;
  b.last_modified_s = 5;
  CHECK(version_of(a) != version_of(b));
}

TEST_CASE("What the mount's options override") {
  const Inode inode =
      headed({{"x-amz-meta-mode", "33261"}, {"x-amz-meta-uid", "7"}, {"x-amz-meta-gid", "8"}});
  NamespaceOptions o;
  o.default_uid = 1;
  CHECK(entry_of(5, inode, o).attr.uid == 7);
  CHECK(entry_of(5, inode, o).attr.gid == 8);
  o.force_uid = true;
  o.force_umask = true;
  o.umask = 022;
  CHECK(entry_of(5, inode, o).attr.uid == 1);
  CHECK(entry_of(5, inode, o).attr.mode == (S_IFREG | 0755));
  o.umask = 077;
  CHECK(entry_of(5, inode, o).attr.mode == (S_IFREG | 0700));
  const Inode directory = new_directory(1, "d");
  CHECK(entry_of(5, directory, {}).attr.mode == (S_IFDIR | 0750));
  CHECK(entry_of(meta::kRootIno, directory, {.root_mode = 0777}).attr.mode == (S_IFDIR | 0777));
  CHECK(entry_of(5, directory, {}).attr.size == 4096);
  CHECK(entry_of(5, directory, {}).version == 0);
}
