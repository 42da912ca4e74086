// Crashes between the steps, and -o writeback.
#include "mutations_fixture.h"

namespace s3cache::core {

using s3::Verb;

TEST_CASE("deletions that S3 never heard of are made up for") {
  MutationsFixture f;
  f.put("a", "1");
  f.put("b", "2");
  f.put("d/");
  const uint64_t a = f.ino_of("a");
  (void)f.ino_of("b");
  REQUIRE(f.list(f.ino_of("d")).empty());
  f.s3.set_failure([](const s3::RequestInfo& info) -> std::optional<Error> {
    const bool deletes = info.verb == Verb::kDelete || info.verb == Verb::kDeleteMany;
    return deletes ? std::optional<Error>(Error{Code::kCancelled, "dying"}) : std::nullopt;
  });
  REQUIRE(f.unlink(f.kRoot, "a").ok());
  REQUIRE(f.unlink(f.kRoot, "b").ok());
  REQUIRE(f.rmdir(f.kRoot, "d").ok());
  REQUIRE(f.journal_size() == 3);
  f.put("b", "another client's");
  f.clock.advance_s(1000);
  {
    s3::FakeS3::Object later;
    later.data = "another client's";
    later.size = static_cast<int64_t>(later.data.size());
    later.etag = "theirs";
    later.last_modified = f.clock.wall_s();
    f.s3.put_object("b", later);
  }
  f.s3.set_failure(nullptr);
  f.crash();
  REQUIRE_FALSE(f.there(f.kRoot, "a"));
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.keys() == std::vector<std::string>{"b"});
  f.tick();
  REQUIRE(f.there(f.kRoot, "b"));
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  REQUIRE(f.getattr(a).is(Code::kStale));
  f.require_quiet();
}

TEST_CASE("made names nobody was told of: there if S3 has them") {
  MutationsFixture f;
  REQUIRE(f.list(f.kRoot).empty());
  f.faulty->set_decide([](const s3::RequestInfo& info) {
    s3::Fault fault;
    if (info.verb == Verb::kPut) fault.kind = s3::Fault::Kind::kHold;
    return fault;
  });
  auto lost = f.start_mkdir(f.kRoot, "lost"), made = f.start_mkdir(f.kRoot, "made");
  const auto file = f.create(f.kRoot, "file");
  REQUIRE(f.there(f.kRoot, "lost"));
  f.s3.put("made/", "");
  f.faulty->set_decide(nullptr);
  f.crash();
  REQUIRE(f.settle().ok());
  f.tick();
  REQUIRE_FALSE(f.there(f.kRoot, "lost"));
  REQUIRE(f.there(f.kRoot, "made"));
  REQUIRE_FALSE(f.there(f.kRoot, "file"));  // no byte of it was to last
  f.require_quiet();
}

TEST_CASE("a file with a draft is still there after a crash") {
  MutationsFixture f;
  const auto made = f.create(f.kRoot, "file");
  REQUIRE(f.s3.wait_idle());
  REQUIRE(f.store->flush().ok());
  f.mutations.reset();
  f.unmount();
  f.mount();
  f.drafts.open(made->ino);
  f.start_mutations();
  REQUIRE(f.settle().ok());
  REQUIRE(f.ino_of("file") == made->ino);
  f.upload(made->ino, "data");
  f.require_quiet();
}

TEST_CASE("a rename that died between copy and deletion is finished") {
  MutationsFixture f;
  f.put("a", "data");
  f.put("b", "data of b");
  const uint64_t a = f.ino_of("a"), b = f.ino_of("b");
  SECTION("before the records moved") {
    f.faulty->set_decide([](const s3::RequestInfo& info) {
      s3::Fault fault;
      if (info.verb == Verb::kCopy)
        fault = {s3::Fault::Kind::kLostAnswer, Error{Code::kCancelled, "dying"}, 0, ""};
      return fault;
    });
    REQUIRE(f.rename(f.kRoot, "a", f.kRoot, "c").is(Code::kCancelled));
    REQUIRE(f.s3.object("c"));
    REQUIRE(f.s3.object("a"));
  }
  SECTION("after it") {
    f.s3.set_failure(refuse(Verb::kDelete, Code::kCancelled));
    REQUIRE(f.rename(f.kRoot, "a", f.kRoot, "c").ok());
    REQUIRE(f.s3.wait_idle());
    f.s3.set_failure(nullptr);
  }
  f.faulty->set_decide(nullptr);
  f.crash();
  REQUIRE(f.settle().ok());
  f.tick();
  REQUIRE(f.s3.keys() == std::vector<std::string>{"b", "c"});
  REQUIRE(f.ino_of("c") == a);
  REQUIRE_FALSE(f.there(f.kRoot, "a"));
  REQUIRE(f.ino_of("b") == b);
  f.require_quiet();
}

TEST_CASE("a rename that died before its copy did not happen") {
  MutationsFixture f;
  f.put("a", "data");
  const uint64_t a = f.ino_of("a");
  REQUIRE_FALSE(f.there(f.kRoot, "c"));
  f.s3.set_failure(refuse(Verb::kCopy, Code::kCancelled));
  REQUIRE(f.rename(f.kRoot, "a", f.kRoot, "c").is(Code::kCancelled));
  f.s3.set_failure(nullptr);
  f.crash();
  REQUIRE(f.settle().ok());
  REQUIRE(f.s3.keys() == std::vector<std::string>{"a"});
  REQUIRE(f.ino_of("a") == a);
  REQUIRE_FALSE(f.there(f.kRoot, "c"));
  f.require_quiet();
}

TEST_CASE("a directory's rename that died half-way is carried on") {
  MutationsFixture f;
  for (int i = 0; i < 30; i++) f.put("d/s/f" + std::to_string(i), std::to_string(i));
  const uint64_t d = f.ino_of("d"), f3 = f.ino_of("d/s/f3");
  REQUIRE_FALSE(f.there(f.kRoot, "e"));
  SECTION("among the copies") {
    std::atomic<int> copies{0};
    f.s3.set_failure([&](const s3::RequestInfo& info) -> std::optional<Error> {
      if (info.verb == Verb::kCopy && ++copies > 10) return Error{Code::kCancelled, "dying"};
      return std::nullopt;
    });
    REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").is(Code::kCancelled));
    REQUIRE(f.s3.keys("e").size() == 10);
  }
  SECTION("among the deletions") {
    f.s3.set_failure(refuse(Verb::kDeleteMany, Code::kCancelled));
    REQUIRE(f.rename(f.kRoot, "d", f.kRoot, "e").ok());
    REQUIRE(f.s3.wait_idle());
    f.s3.erase("d/s/f9");
    REQUIRE(f.s3.keys("d").size() == 29);
  }
  f.s3.set_failure(nullptr);
  f.crash();
  REQUIRE(f.settle().ok());
  f.tick();
  REQUIRE(f.s3.keys("d").empty());
  REQUIRE(f.s3.keys("e").size() == 30);
  REQUIRE(f.ino_of("e") == d);
  REQUIRE(f.ino_of("e/s/f3") == f3);
  REQUIRE_FALSE(f.there(f.kRoot, "d"));
  f.require_quiet();
}

TEST_CASE("an unreadable record of the journal is set aside, not lost") {
  MutationsFixture f;
  meta::Batch batch;
  batch.put(meta::Table::kJournal, be64(77), "garbage");
  f.store->apply(std::move(batch));
  f.crash();
  REQUIRE(f.journal_size() == 0);
  REQUIRE(**f.store->get(meta::Table::kState, "journal/bad/" + be64(77)) == "garbage");
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  f.require_quiet();
}

// --- writeback

namespace {
UploadOptions writeback() {
  UploadOptions options;
  options.writeback = true;
  return options;
}
}  // namespace

TEST_CASE("writeback: answered before S3, carried out after it") {
  MutationsFixture f(writeback());
  f.put("a", "data", {{"cache-control", "no-cache"}});
  const uint64_t a = f.ino_of("a");
  REQUIRE(f.list(f.kRoot).size() == 1);
  f.faulty->set_decide([](const s3::RequestInfo& info) {
    s3::Fault fault;
    if (info.verb == Verb::kPut || info.verb == Verb::kCopy) fault.kind = s3::Fault::Kind::kHold;
    return fault;
  });
  const auto d = f.mkdir(f.kRoot, "d");
  REQUIRE(d.ok());
  REQUIRE(f.symlink(d->attr.ino, "link", "target").ok());
  REQUIRE(f.chmod(a, 0600)->attr.mode == (S_IFREG | 0600u));
  REQUIRE(f.chmod(a, 0640).ok());
  REQUIRE(f.chmod(d->attr.ino, 0700).ok());
  REQUIRE(f.setxattr(a, "user.k", "v").ok());
  f.pass_ttl();
  // Whatever the server says meanwhile.
  REQUIRE(f.getattr(a)->attr.mode == (S_IFREG | 0640u));
  REQUIRE(f.getattr(d->attr.ino)->attr.mode == (S_IFDIR | 0700u));
  REQUIRE(f.keys(f.list(f.kRoot)) == std::vector<std::string>{"a", "d"});
  REQUIRE_FALSE(f.s3.object("d/"));
  SECTION("in time") {
    f.faulty->set_decide(nullptr);
    f.faulty->release_held();
  }
  SECTION("after a crash") {
    f.faulty->set_decide(nullptr);
    f.crash();
  }
  REQUIRE(f.settle().ok());
  REQUIRE(f.header("a", "x-amz-meta-mode") == std::to_string(S_IFREG | 0640));
  REQUIRE(f.header("a", "cache-control") == "no-cache");
  REQUIRE(f.header("a", "x-amz-meta-xattr") != "(none)");
  REQUIRE(f.s3.object("d/link")->data == "target");
  f.tick();
  REQUIRE(f.getattr(d->attr.ino)->attr.mode == (S_IFDIR | 0700u));
  f.require_quiet();
}

TEST_CASE("writeback: tried again while the server is away, given back when it refuses") {
  MutationsFixture f(writeback());
  f.put("a");
  const uint64_t a = f.ino_of("a");
  std::atomic<int> failures{0};
  f.s3.set_failure([&](const s3::RequestInfo& info) -> std::optional<Error> {
    if (info.verb == Verb::kPut && failures++ < 1) return Error{Code::kUnavailable, "away"};
    if (info.verb == Verb::kCopy) return Error{Code::kAccessDenied, "never"};
    return std::nullopt;
  });
  REQUIRE(f.mkdir(f.kRoot, "d").ok());
  REQUIRE(f.chmod(a, 0600).ok());
  REQUIRE(f.settle().ok());
  REQUIRE(failures == 2);
  REQUIRE(f.s3.object("d/"));
  f.tick();
  REQUIRE(f.getattr(a)->attr.mode == (S_IFREG | 0640u));
  f.require_quiet();
}

}  // namespace s3cache::core
