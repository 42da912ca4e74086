// create, mkdir, mknod, symlink, unlink, rmdir.
#include "mutations_fixture.h"

namespace s3cache::core {

using s3::Verb;

TEST_CASE("a created file is a record until its draft goes up") {
  MutationsFixture f;
  f.put("d/old");
  const uint64_t d = f.ino_of("d");
  const auto made = f.create(d, "new");
  REQUIRE(made.ok());
  REQUIRE_FALSE(made->existed);
  REQUIRE(made->entry.attr.mode == (S_IFREG | 0644u));
  REQUIRE(made->entry.attr.uid == 1000);
  (void)f.requests();
  // It is there whatever the server says, for as long as it takes.
  f.pass_ttl();
  REQUIRE(f.there(d, "new"));
  REQUIRE(f.getattr(made->ino)->version == made->entry.version);
  REQUIRE(f.revalidate(made->ino).ok());
  REQUIRE(f.keys(f.list(d)) == std::vector<std::string>{"new", "old"});
  REQUIRE(f.count(Verb::kPut) == 0);
  REQUIRE(f.create(d, "new", true).is(Code::kExists));
  REQUIRE(f.create(d, "new")->existed);
  REQUIRE(f.journal_size() == 1);

  f.upload(made->ino, "data");
  f.tick();
  REQUIRE(f.keys(f.list(d)) == std::vector<std::string>{"new", "old"});
  f.require_quiet();
}

TEST_CASE("names that cannot be made") {
  MutationsFixture f;
  std::string path;
  for (int i = 0; i < 4; i++) path += std::string(250, 'a') + '/';
  f.put("file");
  f.put(path + "x");
  REQUIRE(f.create(f.kRoot, std::string(256, 'n')).is(Code::kNameTooLong));
  REQUIRE(f.mkdir(f.kRoot, std::string(256, 'n')).is(Code::kNameTooLong));
  REQUIRE(f.mkdir(f.kRoot, ".").is(Code::kInvalid));
  REQUIRE(f.create(f.kRoot, "..").is(Code::kInvalid));
  REQUIRE(f.create(f.ino_of("file"), "x").is(Code::kNotDirectory));
  REQUIRE(f.create(f.ino_of(path.substr(0, path.size() - 1)), std::string(21, 'y')).is(Code::kNameTooLong));
  REQUIRE(f.mkdir(f.kRoot, "file").is(Code::kExists));
  f.require_quiet();
}

TEST_CASE("mkdir is one PUT, and what is made inside needs no LIST") {
  MutationsFixture f;
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  (void)f.requests();
  const auto d = f.mkdir(f.kRoot, "d");
  REQUIRE(d.ok());
  REQUIRE(d->attr.mode == (S_IFDIR | 0755u));
  REQUIRE(f.count(Verb::kPut) == 1);
  REQUIRE(f.header("d/", "x-amz-meta-mode") == "493");
  REQUIRE(f.header("d/", "content-type") == "application/x-directory");
  REQUIRE_FALSE(f.there(d->attr.ino, "x"));
  REQUIRE(f.create(d->attr.ino, "x").ok());
  REQUIRE(f.requests() == Count{0, 0, 0});
  REQUIRE(f.mkdir(f.kRoot, "d").is(Code::kExists));
  // A listing past the TTL finds the directory as it is.
  f.pass_ttl();
  REQUIRE(f.keys(f.list(f.kRoot)) == std::vector<std::string>{"d"});
  REQUIRE(f.getattr(d->attr.ino)->attr.uid == 1000);
}

TEST_CASE("mkdir while another client did the same") {
  MutationsFixture f;
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  f.s3.put("d/", "", {{"x-amz-meta-mode", "448"}});
  REQUIRE(f.mkdir(f.kRoot, "d").is(Code::kExists));
  REQUIRE(f.header("d/", "x-amz-meta-mode") == "448");
  f.tick();
  REQUIRE(f.getattr(f.ino_of("d"))->attr.mode == (S_IFDIR | 0700u));
  f.require_quiet();
}

TEST_CASE("a mkdir whose answer was lost meets its own object") {
  MutationsFixture f;
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  f.faulty->set_decide([](const s3::RequestInfo& info) {
    s3::Fault fault;
    // Done, and the repetition inside the client finds it.
    if (info.verb == Verb::kPut) fault = {s3::Fault::Kind::kLostAnswer, Error{Code::kExists, "412"}, 0, ""};
    return fault;
  });
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  f.require_quiet();
}

TEST_CASE("servers without conditions") {
  MutationsFixture f;
  f.s3.set_conditions(false);
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  REQUIRE(f.mkdir(f.kRoot, "e").ok());
  REQUIRE(f.s3.object("d/"));
  f.require_quiet();
}

TEST_CASE("a refused mkdir leaves nothing, a doubtful one is asked for") {
  MutationsFixture f;
  REQUIRE(f.list(f.kRoot).empty());
  f.s3.set_failure(refuse(Verb::kPut, Code::kAccessDenied));
  REQUIRE(f.mkdir(f.kRoot, "d").is(Code::kAccessDenied));
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  f.require_quiet();
  f.s3.set_failure(nullptr);
  f.faulty->set_decide([](const s3::RequestInfo& info) {
    s3::Fault fault;
    if (info.verb == Verb::kPut) fault.kind = s3::Fault::Kind::kLostAnswer;
    return fault;
  });
  REQUIRE(f.mkdir(f.kRoot, "e").is(Code::kUnavailable));
  REQUIRE(f.there(f.kRoot, "e"));
  f.s3.erase("e/");
  f.pass_ttl();
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  f.require_quiet();
}

TEST_CASE("symlinks and special files") {
  MutationsFixture f;
  const auto link = f.symlink(f.kRoot, "link", "some/where");
  REQUIRE(link.ok());
  REQUIRE(link->attr.mode == (S_IFLNK | 0777u));
  REQUIRE(link->attr.size == 10);
  (void)f.requests();
  REQUIRE(*f.readlink(link->attr.ino) == "some/where");
  REQUIRE(f.requests() == Count{0, 0, 0});
  REQUIRE(f.s3.object("link")->data == "some/where");
  REQUIRE(f.header("link", "x-amz-meta-mode") == "41471");

  NewNode device = f.node(S_IFCHR | 0600);
  device.rdev = 0x105;
  REQUIRE(f.mknod(f.kRoot, "tty", device).ok());
  REQUIRE(f.mknod(f.kRoot, "pipe", f.node(S_IFIFO | 0644)).ok());
  REQUIRE(f.header("pipe", "x-amz-meta-mode") == "4516");
  REQUIRE(f.header("tty", "x-amz-meta-rdev") == "261");
  REQUIRE(f.mknod(f.kRoot, "empty", f.node(S_IFREG | 0600)).ok());
  // What another mount reads.
  REQUIRE(f.s3.wait_idle());
  NamespaceFixture other;
  for (const std::string key : {"link", "tty", "pipe", "empty"}) other.s3.put_object(key, *f.s3.object(key));
  REQUIRE(other.getattr(other.ino_of("tty"))->attr.rdev == 0x105);
  REQUIRE(other.getattr(other.ino_of("tty"))->attr.mode == (S_IFCHR | 0600u));
  REQUIRE(*other.readlink(other.ino_of("link")) == "some/where");
  REQUIRE(f.symlink(f.kRoot, "no", "").is(Code::kInvalid));
  REQUIRE(f.symlink(f.kRoot, "no", std::string(4096, 'x')).is(Code::kNameTooLong));
  f.require_quiet();
}

TEST_CASE("rm -rf of 50 is one DeleteObjects, the directory's own object with it") {
  UploadOptions uploads;
  uploads.gather_ms = 900;  // whatever else the machine does
  MutationsFixture f(uploads);
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  const uint64_t d = f.ino_of("d");
  for (int i = 0; i < 50; i++) f.put("d/f" + std::to_string(i));
  f.pass_ttl();
  REQUIRE(f.list(d).size() == 50);
  f.s3.clear_requests();
  REQUIRE(f.rmdir(f.kRoot, "d").is(Code::kNotEmpty));
  for (int i = 0; i < 50; i++) REQUIRE(f.unlink(d, "f" + std::to_string(i)).ok());
  REQUIRE(f.rmdir(f.kRoot, "d").ok());
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  REQUIRE(f.settle().ok());
  REQUIRE(f.count(Verb::kDeleteMany) == 1);
  REQUIRE(f.count(Verb::kDelete) == 0);
  REQUIRE(f.count(Verb::kPut) == 0);
  REQUIRE(f.s3.keys().empty());
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  f.require_quiet();
}

TEST_CASE("a listing on its way brings no removed name back") {
  MutationsFixture f;
  f.put("d/a");
  f.put("d/b");
  const uint64_t d = f.ino_of("d");
  REQUIRE(f.list(d).size() == 2);
  f.pass_ttl();
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  auto dir = f.opendir(d);
  auto sink = std::make_shared<CollectSink>(100);
  REQUIRE(
      *f.await(f.start<bool>([&](auto done) { f.names->readdir(dir, 0, true, sink, done); })));  // the dots
  auto listing = f.start<bool>([&](auto done) { f.names->readdir(dir, 2, true, sink, done); });
  REQUIRE(f.s3.wait_pending(1));
  f.s3.freeze(f.s3.pending()[0].id);  // it has both
  f.tick();
  SECTION("while the deletion is under way") {
    auto removed = f.start_unlink(d, "a");
    // The name is past its TTL and asked for first.
    REQUIRE(f.s3.wait_pending(2));
    f.s3.release(f.s3.pending()[1].id);
    REQUIRE(f.await(std::move(removed)).ok());
    f.s3.release(f.s3.pending()[0].id);
    REQUIRE(f.await(std::move(listing)).ok());
    REQUIRE(sink->names.size() == 3);  // two dots and b
    f.s3.set_manual(false);
  }
  SECTION("after it") {
    f.s3.set_manual(false);
    REQUIRE(f.await(std::move(listing)).ok());
    REQUIRE(f.unlink(d, "a").ok());
    REQUIRE(f.settle().ok());
  }
  REQUIRE(f.settle().ok());
  REQUIRE_FALSE(f.there(d, "a"));
  REQUIRE(f.keys(f.list(d)) == std::vector<std::string>{"b"});
  f.require_quiet();
}

TEST_CASE("a refused deletion brings the name back") {
  MutationsFixture f;
  f.put("a");
  f.put("b");
  f.put("d/");
  REQUIRE(f.list(f.kRoot).size() == 3);
  const uint64_t a = f.ino_of("a");
  f.s3.set_failure([](const s3::RequestInfo& info) -> std::optional<Error> {
    const bool is_delete = info.verb == Verb::kDelete && (info.key == "a" || info.key == "d/");
    return is_delete ? std::optional<Error>(Error{Code::kAccessDenied, "no"}) : std::nullopt;
  });
  REQUIRE(f.unlink(f.kRoot, "a").ok());
  REQUIRE(f.unlink(f.kRoot, "b").ok());
  REQUIRE(f.rmdir(f.kRoot, "d").ok());
  REQUIRE(f.settle().ok());
  f.tick();
  REQUIRE(f.heard.removed("a"));
  REQUIRE(f.there(f.kRoot, "a"));
  REQUIRE(f.ino_of("a") == a);
  REQUIRE(f.there(f.kRoot, "d"));
  REQUIRE_FALSE(f.there(f.kRoot, "b"));
  f.require_quiet();
}

TEST_CASE("a name made again waits for the deletion of its key") {
  MutationsFixture f;
  f.put("a", "old");
  f.put("d/");
  (void)f.ino_of("a");
  (void)f.ino_of("d");
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  REQUIRE(f.unlink(f.kRoot, "a").ok());
  const auto made = f.create(f.kRoot, "a");
  REQUIRE(made.ok());
  REQUIRE(f.s3.wait_pending(1));
  REQUIRE(f.s3.pending()[0].verb == Verb::kDelete);
  std::atomic<bool> uploading{false};
  f.queue->run(made->ino, [&](const InodeQueue::Turn&) { uploading = true; });
  REQUIRE_FALSE(uploading);
  f.s3.release_next();
  REQUIRE(f.s3.wait_idle());
  REQUIRE(uploading);
  REQUIRE(f.there(f.kRoot, "a"));

  f.s3.set_manual(false);
  REQUIRE(f.rmdir(f.kRoot, "d").ok());
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.object("d/"));
  f.upload(made->ino, "new");
  REQUIRE(f.there(f.kRoot, "d"));
  f.require_quiet();
}

TEST_CASE("a file of nobody but us goes without a request") {
  MutationsFixture f;
  const auto made = f.create(f.kRoot, "tmp");
  f.s3.clear_requests();
  REQUIRE(f.unlink(f.kRoot, "tmp").ok());
  REQUIRE(f.drafts.unlinked_ == std::vector<uint64_t>{made->ino});
  REQUIRE(f.settle().ok());
  REQUIRE(f.count(Verb::kDelete) == 0);
  // Still open: fstat works, and without links.
  REQUIRE(f.getattr(made->ino)->attr.nlink == 0);
  f.drafts.close(made->ino);
  (void)f.create(f.kRoot, "other", false, false);
  REQUIRE(f.unlink(f.kRoot, "other").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.getattr(made->ino).is(Code::kStale));
  f.require_quiet();
}

TEST_CASE("an object that open handles need is deleted when they are closed") {
  MutationsFixture f;
  f.put("a", "old");
  const uint64_t a = f.ino_of("a");
  f.drafts.needed.insert(a);
  REQUIRE(f.unlink(f.kRoot, "a").ok());
  REQUIRE(f.settle().ok());
  REQUIRE_FALSE(f.there(f.kRoot, "a"));
  REQUIRE(f.s3.object("a"));
  REQUIRE(*f.inodes->key_of(a) == "a");
  SECTION("closed") { f.drafts.close(a); }
  SECTION("or when somebody wants the name") {
    const auto made = f.create(f.kRoot, "a");
    REQUIRE(f.settle().ok());
    REQUIRE_FALSE(f.s3.object("a"));
    f.upload(made->ino, "new");
    return f.require_quiet();
  }
  REQUIRE(f.settle().ok());
  REQUIRE_FALSE(f.s3.object("a"));
  f.require_quiet();
}

TEST_CASE("rmdir asks the server about a directory it does not know") {
  MutationsFixture f;
  f.put("d/");
  f.put("d/x");
  f.put("e/");
  f.put("implicit/x");
  const uint64_t d = f.ino_of("d");
  (void)f.ino_of("e");
  REQUIRE(f.rmdir(f.kRoot, "d").is(Code::kNotEmpty));
  REQUIRE(f.unlink(d, "x").ok());
  REQUIRE(f.rmdir(f.kRoot, "d").ok());
  REQUIRE(f.rmdir(f.kRoot, "e").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.keys() == std::vector<std::string>{"implicit/x"});
  REQUIRE(f.rmdir(f.kRoot, "implicit").is(Code::kNotEmpty));
  REQUIRE(f.rmdir(f.kRoot, "none").is(Code::kNotFound));
  REQUIRE(f.unlink(f.kRoot, "implicit").is(Code::kIsDirectory));
  REQUIRE(f.rmdir(f.ino_of("implicit"), "x").is(Code::kNotDirectory));
  f.require_quiet();
}

TEST_CASE("a directory without an object keeps existing when its last name goes") {
  MutationsFixture f;
  f.put("d/x");
  f.put("e/x");
  const uint64_t d = f.ino_of("d"), e = f.ino_of("e");
  REQUIRE(f.list(d).size() == 1);
  REQUIRE(f.list(e).size() == 1);
  REQUIRE(f.unlink(d, "x").ok());
  REQUIRE(f.unlink(e, "x").ok());
  REQUIRE(f.rmdir(f.kRoot, "e").ok());  // in time: it needs none
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.wait_idle());
  REQUIRE(f.s3.keys() == std::vector<std::string>{"d/"});
  f.pass_ttl();
  REQUIRE(f.there(f.kRoot, "d"));
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  REQUIRE(f.ino_of("d") == d);
  f.require_quiet();
}

TEST_CASE("a directory that vanishes on the server stays while something of ours is in it") {
  MutationsFixture f;
  f.put("d/x");
  const uint64_t d = f.ino_of("d");
  const auto made = f.create(d, "new");
  f.s3.erase("d/x");
  f.pass_ttl();
  REQUIRE(f.list(f.kRoot).contains("d"));
  REQUIRE(f.there(d, "new"));
  f.upload(made->ino, "data");
  f.pass_ttl();
  REQUIRE(f.keys(f.list(d)) == std::vector<std::string>{"new"});
  f.require_quiet();
}

}  // namespace s3cache::core
