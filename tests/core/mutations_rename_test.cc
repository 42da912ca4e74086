// rename: of files, and of directories with everything below them.
#include <linux/fs.h>

#include <fstream>

#include "mutations_fixture.h"

namespace s3cache::core {

using s3::Verb;

TEST_CASE("mv of a file is a copy and a deletion; number, version and attributes stay") {
  MutationsFixture f;
  f.put("a.txt", "data",
        {{"cache-control", "no-cache"}, {"x-amz-meta-mode", "33188"}, {"x-amz-meta-uid", "7"}});
  f.put("d/x");
  const uint64_t a = f.ino_of("a.txt"), d = f.ino_of("d");
  const auto before = f.getattr(a);
  REQUIRE_FALSE(f.there(d, "b.html"));
  f.s3.clear_requests();
  REQUIRE(f.rename(f.kRoot, "a.txt", d, "b.html").ok());
  REQUIRE_FALSE(f.there(f.kRoot, "a.txt"));
  REQUIRE(f.ino_of("d/b.html") == a);
  REQUIRE(f.settle().ok());
  REQUIRE(f.count(Verb::kCopy) == 1);
  REQUIRE(f.count(Verb::kDelete) == 1);
  REQUIRE(f.s3.requests().size() == 2);
  REQUIRE(f.s3.keys() == std::vector<std::string>{"d/b.html", "d/x"});
  REQUIRE(f.header("d/b.html", "cache-control") == "no-cache");
  f.tick();
  f.pass_ttl();
  (void)f.list(d);
  (void)f.requests();
  const auto after = f.getattr(a);
  REQUIRE(f.requests() == Count{0, 0, 0});
  REQUIRE(after->version == before->version);
  REQUIRE(after->attr.uid == 7);
  REQUIRE_FALSE(f.there(f.kRoot, "a.txt"));
  f.require_quiet();
}

TEST_CASE("the content type follows the name only where it came from the name") {
  const auto mime = std::filesystem::temp_directory_path() / ("s3cache-mv-" + std::to_string(getpid()));
  std::ofstream(mime) << "text/html html\ntext/plain txt\n";
  UploadOptions uploads;
  uploads.mime_file = mime.string();
  MutationsFixture f(uploads);
  f.put("a.txt", "1", {{"content-type", "text/plain"}});
  f.put("b.txt", "2", {{"content-type", "text/markdown"}});
  f.put("c.tmp", "3", {{"content-type", "binary/octet-stream"}});
  for (const std::string name : {"a.txt", "b.txt", "c.tmp"}) {
    (void)f.ino_of(name);
    REQUIRE(f.rename(f.kRoot, name, f.kRoot, name.substr(0, 1) + ".html").ok());
  }
  REQUIRE(f.header("a.html", "content-type") == "text/html");
  REQUIRE(f.header("b.html", "content-type") == "text/markdown");
  REQUIRE(f.header("c.html", "content-type") == "text/html");
  std::filesystem::remove(mime);
}

TEST_CASE("a file S3 never had is renamed for nothing") {
  MutationsFixture f;
  f.put("final", "old");
  const uint64_t old = f.ino_of("final");
  const auto made = f.create(f.kRoot, ".tmp");
  f.s3.clear_requests();
  REQUIRE(f.rename(f.kRoot, ".tmp", f.kRoot, "final").ok());
  REQUIRE(f.s3.requests().empty());
  REQUIRE(f.ino_of("final") == made->ino);
  REQUIRE(f.drafts.unlinked_ == std::vector<uint64_t>{old});
  REQUIRE(*f.inodes->key_of(made->ino) == "final");
  REQUIRE(f.journal_size() == 1);
  // And over another one of its kind.
  const auto second = f.create(f.kRoot, ".tmp");
  REQUIRE(f.rename(f.kRoot, ".tmp", f.kRoot, "final").ok());
  REQUIRE(f.journal_size() == 2);  // the replaced one is open still
  f.drafts.close(made->ino);
  REQUIRE(f.unlink(f.kRoot, "final").ok());
  REQUIRE(f.settle().ok());
  f.drafts.close(second->ino);
  const auto third = f.create(f.kRoot, ".tmp");
  REQUIRE(f.rename(f.kRoot, ".tmp", f.kRoot, "third").ok());
  f.upload(third->ino, "new");
  REQUIRE(f.unlink(f.kRoot, "third").ok());
  f.require_quiet();
}

TEST_CASE("a changed file goes up before it moves") {
  MutationsFixture f;
  f.put("a", "old");
  const uint64_t a = f.ino_of("a");
  f.drafts.open(a);
  f.drafts.on_save = [&](uint64_t ino, Callback<void> done) {
    f.upload(ino, "newest");
    done(Status());
  };
  REQUIRE(f.rename(f.kRoot, "a", f.kRoot, "b").ok());
  REQUIRE(f.s3.object("b")->data == "newest");
  f.drafts.open(a);
  f.drafts.on_save = [](uint64_t, Callback<void> done) { done(Error{Code::kNoSpace, "full"}); };
  REQUIRE(f.rename(f.kRoot, "b", f.kRoot, "c").is(Code::kNoSpace));
  REQUIRE(f.ino_of("b") == a);
  f.drafts.close(a);
  f.require_quiet();
}

TEST_CASE("what may be renamed over what") {
  MutationsFixture f;
  f.put("file", "1");
  f.put("other", "2");
  f.put("d/x");
  f.put("empty/");
  f.put("e/");
  f.put("e/y");
  for (const std::string name : {"file", "other", "d", "empty", "e"}) (void)f.ino_of(name);
  const uint64_t file = f.ino_of("file"), other = f.ino_of("other"), d = f.ino_of("d");
  REQUIRE(f.rename(f.kRoot, "file", f.kRoot, "d").is(Code::kIsDirectory));
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "file").is(Code::kNotDirectory));
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").is(Code::kNotEmpty));
  REQUIRE(f.rename(f.kRoot, "d", d, "inside").is(Code::kInvalid));
  REQUIRE(f.rename(f.kRoot, "none", f.kRoot, "x").is(Code::kNotFound));
  REQUIRE(f.rename(f.kRoot, "file", f.kRoot, "other", RENAME_NOREPLACE).is(Code::kExists));
  REQUIRE(f.rename(f.kRoot, "file", f.kRoot, "other", RENAME_EXCHANGE).is(Code::kUnsupported));
  REQUIRE(f.rename(f.kRoot, "file", f.kRoot, "..").is(Code::kInvalid));
  REQUIRE(f.rename(f.kRoot, "file", f.kRoot, "file").ok());
  REQUIRE(f.rename(f.kRoot, "file", f.kRoot, "other").ok());
  REQUIRE(f.ino_of("other") == file);
  REQUIRE(f.drafts.unlinked_ == std::vector<uint64_t>{other});
  REQUIRE(f.s3.object("other")->data == "1");
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "empty").ok());
  REQUIRE(f.ino_of("empty") == d);
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.keys() == std::vector<std::string>{"e/", "e/y", "empty/", "empty/x", "other"});
  f.require_quiet();
}

TEST_CASE("RENAME_NOREPLACE loses to another client") {
  MutationsFixture f;
  f.put("a", "mine");
  (void)f.ino_of("a");
  REQUIRE_FALSE(f.there(f.kRoot, "b"));
  f.s3.put("b", "theirs");
  f.tick();
  REQUIRE(f.rename(f.kRoot, "a", f.kRoot, "b", RENAME_NOREPLACE).is(Code::kExists));
  REQUIRE(f.s3.object("b")->data == "theirs");
  REQUIRE(f.there(f.kRoot, "b"));
  REQUIRE(f.there(f.kRoot, "a"));
  f.require_quiet();
}

TEST_CASE("the source of a rename changes meanwhile, or is gone, or nothing may be copied") {
  MutationsFixture f;
  f.put("a", "old");
  const uint64_t a = f.ino_of("a");
  f.put("a", "newer data");
  REQUIRE(f.rename(f.kRoot, "a", f.kRoot, "b").ok());
  REQUIRE(f.s3.object("b")->data == "newer data");
  REQUIRE(f.getattr(a)->attr.size == 10);
  f.s3.set_failure(refuse(Verb::kCopy, Code::kAccessDenied));
  REQUIRE(f.rename(f.kRoot, "b", f.kRoot, "c").is(Code::kAccessDenied));
  REQUIRE(f.ino_of("b") == a);
  REQUIRE_FALSE(f.there(f.kRoot, "c"));
  f.s3.set_failure(nullptr);
  f.s3.erase("b");
  REQUIRE(f.rename(f.kRoot, "b", f.kRoot, "c").is(Code::kNotFound));
  REQUIRE_FALSE(f.there(f.kRoot, "b"));
  f.require_quiet();
}

TEST_CASE("mv of a directory of 50 is 51 copies side by side and one DeleteObjects") {
  MutationsFixture f;
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  for (int i = 0; i < 50; i++) f.put("d/sub/f" + std::to_string(i), std::to_string(i));
  f.pass_ttl();
  const uint64_t d = f.ino_of("d"), sub = f.ino_of("d/sub");
  REQUIRE(f.list(sub).size() == 50);
  const uint64_t f7 = f.ino_of("d/sub/f7");
  const auto before = f.getattr(f7);
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  f.tick();
  f.s3.clear_requests();
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  auto moved = f.start_rename(f.kRoot, "d", f.kRoot, "e");
  REQUIRE(f.s3.wait_pending(1));
  f.s3.release_next();
  for (const auto& info : f.s3.pending()) UNSCOPED_INFO(static_cast<int>(info.verb) << " " << info.key);
  REQUIRE(f.s3.wait_pending(48));
  // Readable where it was; changes below wait.
  REQUIRE(f.there(f.kRoot, "d"));
  REQUIRE(*f.inodes->key_of(f7) == "d/sub/f7");
  auto inside = f.start_mkdir(sub, "new");
  f.s3.set_manual(false);
  REQUIRE(f.await(std::move(moved)).ok());
  REQUIRE(f.await(std::move(inside)).ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.count(Verb::kCopy) == 51);
  REQUIRE(f.count(Verb::kDeleteMany) == 1);
  REQUIRE(f.count(Verb::kDelete) == 0);
  REQUIRE(f.count(Verb::kList) <= 2);
  REQUIRE(f.s3.object("e/sub/new/"));
  REQUIRE(f.s3.keys("d").empty());
  REQUIRE(f.ino_of("e") == d);
  REQUIRE(f.ino_of("e/sub/f7") == f7);
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  f.tick();
  f.pass_ttl();
  REQUIRE(f.list(sub).size() == 51);
  (void)f.requests();
  REQUIRE(f.getattr(f7)->version == before->version);
  REQUIRE(f.requests() == Count{0, 0, 0});  // the copies' times are known
  f.require_quiet();
}

TEST_CASE("a directory moves with files that S3 does not have yet") {
  MutationsFixture f;
  f.put("d/x", "x");
  const uint64_t d = f.ino_of("d");
  const auto made = f.create(d, "new");
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.drafts.saved.empty());
  REQUIRE(*f.inodes->key_of(made->ino) == "e/new");
  f.upload(made->ino, "data");
  REQUIRE(f.s3.keys() == std::vector<std::string>{"e/new", "e/x"});
  // And one without any object at all.
  REQUIRE(f.unlink(d, "x").ok());
  REQUIRE(f.unlink(d, "new").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.rename(f.kRoot, "e", f.kRoot, "g").ok());
  REQUIRE(f.settle().ok());
  f.pass_ttl();
  REQUIRE(f.there(f.kRoot, "g"));
  f.require_quiet();
}

TEST_CASE("a directory that cannot be copied wholly stays where it is") {
  MutationsFixture f;
  for (int i = 0; i < 20; i++) f.put("d/f" + std::to_string(i));
  const uint64_t d = f.ino_of("d");
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  f.s3.set_failure([](const s3::RequestInfo& info) -> std::optional<Error> {
    if (info.verb == Verb::kCopy && info.source_key == "d/f7") return Error{Code::kAccessDenied, "no"};
    return std::nullopt;
  });
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").is(Code::kAccessDenied));
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.keys("e").empty());
  REQUIRE(f.s3.keys("d").size() == 20);
  f.tick();
  REQUIRE(f.ino_of("d") == d);
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  REQUIRE(f.mkdir(d, "later").ok());  // the gate is open again
  f.require_quiet();
}

TEST_CASE("an object replaced while its directory moves is not lost") {
  MutationsFixture f;
  f.put("d/a", "old");
  f.put("d/b", "b");
  (void)f.ino_of("d");
  bool replaced = false;
  f.faulty->set_decide([&](const s3::RequestInfo& info) {
    // After the listing, before the copy; and once more between copy and deletion.
    if (info.verb == Verb::kCopy && info.source_key == "d/a" && !std::exchange(replaced, true))
      f.put("d/a", "newer");
    if (info.verb == Verb::kDeleteMany) f.put("d/b", "written in between");
    return s3::Fault();
  });
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.object("e/a")->data == "newer");
  REQUIRE(f.s3.object("e/b")->data == "b");
  REQUIRE(f.s3.object("d/b")->data == "written in between");
  REQUIRE_FALSE(f.s3.object("d/a"));
  REQUIRE(f.there(f.kRoot, "d") == false);  // within the TTL
  f.pass_ttl();
  REQUIRE(f.there(f.kRoot, "d"));
  f.require_quiet();
}

TEST_CASE("listings from before a directory moved say nothing of it") {
  MutationsFixture f;
  for (int i = 0; i < 5; i++) f.put("d/f" + std::to_string(i));
  const uint64_t d = f.ino_of("d");
  REQUIRE(f.list(d).size() == 5);
  const uint64_t f3 = f.ino_of("d/f3");
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  f.pass_ttl();
  f.tick();
  (void)f.ino_of("d");
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  f.faulty->set_decide(nullptr);
  REQUIRE(f.s3.wait_idle());
  f.s3.set_manual(true);
  auto dir = f.opendir(d);
  auto dots = std::make_shared<CollectSink>(100), sink = std::make_shared<CollectSink>(100);
  REQUIRE(*f.await(f.start<bool>([&](auto done) { f.names->readdir(dir, 0, true, dots, done); })));
  auto listing = f.start<bool>([&](auto done) { f.names->readdir(dir, 2, true, sink, done); });
  REQUIRE(f.s3.wait_pending(1));
  const auto old = f.s3.pending()[0].id;
  f.tick();
  auto moved = f.start_rename(f.kRoot, "d", f.kRoot, "e");
  for (int i = 0; i < 3000 && moved.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready;
       i++) {
    for (const auto& info : f.s3.pending()) {
      if (info.id != old) f.s3.release(info.id);
    }
  }
  f.tick();
  REQUIRE(f.await(std::move(moved)).ok());
  for (int i = 0; i < 3000 && !f.s3.keys("d").empty(); i++) {
    for (const auto& info : f.s3.pending()) {
      if (info.id != old) f.s3.release(info.id);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  f.s3.set_manual(false);  // the old listing now finds the old place empty
  REQUIRE(f.await(std::move(listing)).ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.list(d).size() == 5);
  REQUIRE(f.ino_of("e/f3") == f3);
  f.require_quiet();
}

TEST_CASE("mv and rm -rf of 200: the requests") {
  MutationsFixture f;
  for (int i = 0; i < 200; i++) f.put("d/f" + std::to_string(i));
  const uint64_t d = f.ino_of("d");
  REQUIRE(f.list(d).size() == 200);
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  f.s3.clear_requests();
  REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.count(Verb::kCopy) == 200);
  REQUIRE(f.count(Verb::kDeleteMany) == 1);
  REQUIRE(f.s3.requests().size() == 202);
  f.s3.clear_requests();
  for (int i = 0; i < 200; i++) REQUIRE(f.unlink(d, "f" + std::to_string(i)).ok());
  REQUIRE(f.rmdir(f.kRoot, "e").ok());
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.keys().empty());
  f.require_quiet();
}

}  // namespace s3cache::core
