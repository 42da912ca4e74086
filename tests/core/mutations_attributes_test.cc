// setattr and xattrs: copies of an object onto itself.
#include <sys/xattr.h>

#include <fstream>

#include "core/xattrs.h"
#include "mutations_fixture.h"

namespace s3cache::core {

using s3::Verb;

namespace {
const s3::SentHeaders kForeign = {{"content-type", "text/html"},       {"cache-control", "max-age=60"},
                                  {"content-encoding", "gzip"},        {"x-amz-storage-class", "STANDARD_IA"},
                                  {"x-amz-meta-owner-tool", "rclone"}, {"x-amz-meta-mtime", "1500000000.5"}};
}  // namespace

TEST_CASE("chmod is one copy that keeps every header, the bytes and the version") {
  MutationsFixture f;
  f.put("page", "<html>", kForeign);
  const uint64_t ino = f.ino_of("page");
  const auto before = f.getattr(ino);
  f.s3.clear_requests();
  f.clock.advance_s(5);
  const auto after = f.chmod(ino, 0600);
  REQUIRE(after.ok());
  REQUIRE(f.s3.requests().size() == 1);
  const auto request = f.s3.requests()[0];
  REQUIRE(request.verb == Verb::kCopy);
  REQUIRE(request.source_key == "page");
  REQUIRE(request.replace_headers);
  REQUIRE_FALSE(request.source_if_match.empty());
  for (const auto& [name, value] : kForeign) {
    INFO(name);
    if (name != "x-amz-meta-mtime") REQUIRE(f.header("page", name) == value);
  }
  REQUIRE(f.header("page", "x-amz-meta-mode") == std::to_string(S_IFREG | 0600));
  REQUIRE(f.header("page", "x-amz-meta-mtime") == "1500000000.500000000");
  REQUIRE(f.header("page", "x-amz-meta-uid") == "(none)");  // nobody said
  REQUIRE(f.header("page", "x-amz-meta-ctime") == std::to_string(f.clock.wall_s()) + ".000000000");
  REQUIRE(after->version == before->version);
  REQUIRE(after->attr.mtime_ns == before->attr.mtime_ns);
  // A listing finds it as it is: no HEAD, the same version.
  f.tick();
  f.pass_ttl();
  (void)f.list(f.kRoot);
  (void)f.requests();
  REQUIRE(f.getattr(ino)->attr.mode == (S_IFREG | 0600u));
  REQUIRE(f.getattr(ino)->version == before->version);
  REQUIRE(f.requests() == Count{0, 0, 0});
  REQUIRE(f.s3.object("page")->data == "<html>");
  f.require_quiet();
}

TEST_CASE("changes that wait for each other are one copy") {
  MutationsFixture f;
  f.put("a");
  const uint64_t ino = f.ino_of("a");
  f.s3.clear_requests();
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  SetAttr mode, owner, times;
  mode.mode = 0640;
  owner.uid = 7;
  times.mtime_ns = 1;
  auto first = f.start_setattr(ino, mode);
  REQUIRE(f.s3.wait_pending(1));
  auto second = f.start_setattr(ino, owner), third = f.start_setattr(ino, times);
  f.s3.set_manual(false);
  REQUIRE(f.await(std::move(first)).ok());
  REQUIRE(f.await(std::move(second)).ok());
  const auto last = f.await(std::move(third));
  REQUIRE(last->attr.mode == (S_IFREG | 0640u));
  REQUIRE(last->attr.uid == 7);
  REQUIRE(last->attr.mtime_ns == 1);
  REQUIRE(f.count(Verb::kCopy) == 2);
  REQUIRE(f.header("a", "x-amz-meta-mtime") == "0.000000001");
  REQUIRE(f.header("a", "x-amz-meta-gid") == "0");
}

TEST_CASE("attr=list learns the headers before it writes them") {
  NamespaceOptions options;
  options.attr = AttrMode::kList;
  MutationsFixture f({}, options);
  f.put("a", "x", kForeign);
  (void)f.list(f.kRoot);
  REQUIRE(f.chmod(f.ino_of("a"), 0600).ok());
  REQUIRE(f.header("a", "cache-control") == "max-age=60");
  REQUIRE(f.header("a", "x-amz-meta-owner-tool") == "rclone");
}

TEST_CASE("the object is replaced while its mode changes") {
  MutationsFixture f;
  f.put("a", "old");
  const uint64_t ino = f.ino_of("a");
  f.put("a", "new bytes", {{"cache-control", "no-store"}});
  REQUIRE(f.chmod(ino, 0600).ok());
  REQUIRE(f.s3.object("a")->data == "new bytes");
  REQUIRE(f.header("a", "cache-control") == "no-store");
  REQUIRE(f.header("a", "x-amz-meta-mode") == std::to_string(S_IFREG | 0600));
  REQUIRE(f.getattr(ino)->attr.size == 9);
  f.s3.erase("a");
  REQUIRE_FALSE(f.chmod(ino, 0640).ok());
}

TEST_CASE("a refused copy changes nothing") {
  MutationsFixture f;
  f.put("a");
  const uint64_t ino = f.ino_of("a");
  const auto before = f.getattr(ino);
  f.s3.set_failure(refuse(Verb::kCopy, Code::kAccessDenied));
  REQUIRE(f.chmod(ino, 0600).is(Code::kAccessDenied));
  REQUIRE(f.getattr(ino)->attr.mode == before->attr.mode);
  // A lost answer: the server is asked.
  f.s3.set_failure(nullptr);
  f.faulty->set_decide([](const s3::RequestInfo& info) {
    s3::Fault fault;
    if (info.verb == Verb::kCopy) fault.kind = s3::Fault::Kind::kLostAnswer;
    return fault;
  });
  f.tick();
  REQUIRE(f.chmod(ino, 0604).is(Code::kUnavailable));
  f.tick();
  REQUIRE(f.getattr(ino)->attr.mode == (S_IFREG | 0604u));
  f.require_quiet();
}

TEST_CASE("an answer that was on its way does not bring the old mode back") {
  MutationsFixture f;
  f.put("a");
  const uint64_t ino = f.ino_of("a");
  REQUIRE(f.chmod(ino, 0644).ok());  // the fake's copies have the ETag of their bytes: it stays from here on
  f.clock.advance_s(5);
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  auto late = f.start<Entry>([&](auto done) { f.names->revalidate(ino, done); });
  REQUIRE(f.s3.wait_pending(1));
  const auto head = f.s3.pending()[0].id;
  f.s3.freeze(head);
  f.clock.advance_s(3);
  auto changed = f.start_setattr(ino, [] {
    SetAttr what;
    what.mode = 0600;
    return what;
  }());
  REQUIRE(f.s3.wait_pending(2));
  f.s3.release(f.s3.pending()[1].id);
  REQUIRE(f.await(std::move(changed)).ok());
  f.s3.release(head);
  f.s3.set_manual(false);
  REQUIRE(f.await(std::move(late)).ok());
  REQUIRE(f.getattr(ino)->attr.mode == (S_IFREG | 0600u));
}

TEST_CASE("directories: a marker is written, an implicit one gets one, the root has \"/\"") {
  MutationsFixture f;
  f.put("d/x");
  f.put("old", "", {{"x-amz-meta-mode", "16877"}, {"x-amz-meta-uid", "5"}});
  f.put("old/x");
  const uint64_t d = f.ino_of("d");
  REQUIRE(f.chmod(d, 0711).ok());
  REQUIRE(f.header("d/", "x-amz-meta-mode") == std::to_string(S_IFDIR | 0711));
  REQUIRE(f.chmod(f.kRoot, 0755).ok());
  REQUIRE(f.header("/", "x-amz-meta-mode") == std::to_string(S_IFDIR | 0755));
  REQUIRE(f.getattr(f.kRoot)->attr.mode == (S_IFDIR | 0755u));
  f.tick();
  f.pass_ttl();
  REQUIRE(f.getattr(d)->attr.mode == (S_IFDIR | 0711u));
  // The form without a slash is replaced.
  const uint64_t old = f.ino_of("old");
  REQUIRE(f.getattr(old)->attr.uid == 5);
  REQUIRE(f.chmod(old, 0700).ok());
  REQUIRE(f.settle().ok());
  f.tick();
  REQUIRE_FALSE(f.s3.object("old"));
  REQUIRE(f.header("old/", "x-amz-meta-uid") == "5");
  REQUIRE(f.ino_of("old") == old);
  REQUIRE(f.getattr(old)->attr.mode == (S_IFDIR | 0700u));
  f.require_quiet();
}

TEST_CASE("a large object is copied in parts") {
  UploadOptions uploads;
  uploads.single_copy_limit = 10 << 20;
  uploads.copy_size = 6 << 20;
  MutationsFixture f(uploads);
  f.put_large("big", 20 << 20);
  const uint64_t ino = f.ino_of("big");
  const auto before = f.getattr(ino);
  const auto after = f.chmod(ino, 0600);
  REQUIRE(after.ok());
  REQUIRE(f.count(Verb::kCopyPart) == 4);
  REQUIRE(f.count(Verb::kCopy) == 0);
  REQUIRE(after->version == before->version);
  REQUIRE(f.header("big", "x-amz-meta-mode") == std::to_string(S_IFREG | 0600));
  f.tick();
  f.pass_ttl();
  REQUIRE(f.getattr(ino)->version == before->version);
  f.s3.set_failure(refuse(Verb::kCopyPart, Code::kAccessDenied));
  REQUIRE(f.chmod(ino, 0640).is(Code::kAccessDenied));
  REQUIRE(f.s3.wait_idle());
  REQUIRE(f.s3.uploads().empty());
}

TEST_CASE("a draft takes the attributes along") {
  MutationsFixture f;
  const auto made = f.create(f.kRoot, "a");
  f.s3.clear_requests();
  REQUIRE(f.chmod(made->ino, 0600)->attr.mode == (S_IFREG | 0600u));
  REQUIRE(f.setxattr(made->ino, "user.k", "v").ok());
  REQUIRE(f.drafts.changed == std::vector<uint64_t>{made->ino, made->ino});
  REQUIRE(f.s3.requests().empty());
  f.upload(made->ino, "data");
  REQUIRE(f.header("a", "x-amz-meta-mode") == std::to_string(S_IFREG | 0600));
  f.require_quiet();
}

TEST_CASE("xattrs") {
  MutationsFixture f;
  f.put("a", "x", kForeign);
  const uint64_t ino = f.ino_of("a");
  REQUIRE(f.setxattr(ino, "user.b", "2").ok());
  REQUIRE(f.setxattr(ino, "user.a", std::string("\0\xff", 2)).ok());
  REQUIRE(f.header("a", "x-amz-meta-xattr") ==
          "%7B%22user.a%22%3A%22AP8%3D%22%2C%22user.b%22%3A%22Mg%3D%3D%22%7D");
  REQUIRE(f.setxattr(ino, "user.a", "1", XATTR_CREATE).is(Code::kExists));
  REQUIRE(f.setxattr(ino, "user.c", "1", XATTR_REPLACE).is(Code::kNotFound));
  REQUIRE(f.setxattr(ino, "user.b", "3", XATTR_REPLACE).ok());
  REQUIRE(f.removexattr(ino, "user.a").ok());
  REQUIRE(f.removexattr(ino, "user.a").is(Code::kNotFound));
  REQUIRE(f.header("a", "x-amz-meta-xattr") == "%7B%22user.b%22%3A%22Mw%3D%3D%22%7D");
  REQUIRE(f.removexattr(ino, "user.b").ok());
  REQUIRE(f.header("a", "x-amz-meta-xattr") == "(none)");
  REQUIRE(f.setxattr(ino, "user.big", std::string(2048, 'x')).is(Code::kNoSpace));
  REQUIRE(f.setxattr(ino, "user.s3cache.etag", "x").is(Code::kUnsupported));
  REQUIRE(f.setxattr(ino, "other.x", "x").is(Code::kUnsupported));
  REQUIRE(f.setxattr(ino, "user.\xff", "x").is(Code::kInvalid));
  REQUIRE(f.setxattr(ino, "user.q\"\\", "x").ok());
  REQUIRE(f.setxattr(ino, "system.posix_acl_access", "x").ok());
  f.tick();
  f.pass_ttl();
  const auto ext = f.await(f.start<meta::Ext>([&](auto done) { f.names->ext(ino, done); }));
  REQUIRE(decode_xattrs(ext->xattrs).size() == 2);
  REQUIRE(f.header("a", "cache-control") == "max-age=60");
  f.require_quiet();
}

TEST_CASE("update_parent_dir_stat: the directory's time follows its names") {
  UploadOptions uploads;
  uploads.update_parent_dir_stat = true;
  MutationsFixture f(uploads);
  f.put("d/x");
  f.put("e/");
  const uint64_t d = f.ino_of("d"), e = f.ino_of("e");
  const auto mtime = [&](uint64_t dir) { return f.getattr(dir)->attr.mtime_ns; };
  for (int step = 0; step < 4; step++) {
    f.clock.advance_s(10);
    if (step == 0) REQUIRE(f.mkdir(d, "sub").ok());
    if (step == 1) REQUIRE(f.create(d, "new", false, false).ok());
    if (step == 2) REQUIRE(f.unlink(d, "x").ok());
    if (step == 3) REQUIRE(f.rename(d, "sub", e, "sub").ok());
    INFO(step);
    REQUIRE(mtime(d) == f.clock.wall_ns());
  }
  REQUIRE(mtime(e) == f.clock.wall_ns());
  REQUIRE(f.header("d/", "x-amz-meta-mtime") == std::to_string(f.clock.wall_s()) + ".000000000");
  f.s3.set_failure(refuse(Verb::kPut, Code::kAccessDenied));
  REQUIRE(f.create(d, "other", false, false).ok());  // its time is no reason to fail
}

TEST_CASE("headers of an upload, byte for byte") {
  meta::Inode inode;
  inode.mode = S_IFREG | 0644;
  inode.has_owner = true;
  inode.uid = 1000;
  inode.gid = 100;
  inode.mtime_ns = 1795360464621279235;
  inode.ctime_ns = 5;
  inode.atime_ns = -1;
  UploadOptions options;
  options.default_acl = "public-read";
  options.storage_class = "ONEZONE_IA";
  options.sse = "kms:key";
  options.mime_file = "/nonexistent";
  const s3::SentHeaders expected = {{"content-type", "application/octet-stream"},
                                    {"x-amz-meta-mode", "33188"},
                                    {"x-amz-meta-uid", "1000"},
                                    {"x-amz-meta-gid", "100"},
                                    {"x-amz-meta-mtime", "1795360464.621279235"},
                                    {"x-amz-meta-ctime", "0.000000005"},
                                    {"x-amz-meta-atime", "-1.999999999"},
                                    {"x-amz-acl", "public-read"},
                                    {"x-amz-storage-class", "ONEZONE_IA"},
                                    {"x-amz-server-side-encryption", "aws:kms"},
                                    {"x-amz-server-side-encryption-aws-kms-key-id", "key"}};
  REQUIRE(object_headers(inode, {}, "a/b.txt", options) == expected);
}

TEST_CASE("content types by name") {
  const auto path = std::filesystem::temp_directory_path() / ("s3cache-mime-" + std::to_string(getpid()));
  {
    std::ofstream file(path);
    file << "# comment\ntext/html  html htm\nimage/png png\napplication/gzip gz\n";
  }
  const auto type = [&](const std::string& key) { return content_type_of(key, path.string()); };
  REQUIRE(type("a/b.html") == "text/html");
  REQUIRE(type("a/b.HTM") == "text/html");
  REQUIRE(type("b.png.unknown") == "image/png");
  REQUIRE(type("b.html.gz") == "application/gzip");
  REQUIRE(type("a.png/b") == "application/octet-stream");
  REQUIRE(type("a.x.y.html.z.w") == "application/octet-stream");
  REQUIRE(type("dir/") == "application/x-directory");
  std::filesystem::remove(path);
}

}  // namespace s3cache::core
