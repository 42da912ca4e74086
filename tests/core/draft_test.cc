// Contents that this mount changes: what readers see, what goes up, and with how many requests.
#include <thread>

#include "draft_fixture.h"
#include "s3/faulty_s3.h"

using namespace s3cache;
using namespace s3cache::core;

TEST_CASE_METHOD(DraftFixture, "a small new file is one PUT and readable at once") {
  auto file = create("new");
  REQUIRE(*write(file, 0, "hello") == 5);
  REQUIRE(*read(file, 0, 100) == "hello");
  REQUIRE(flush(file).ok());
  CHECK(object("new") == "hello");
  CHECK(s3->counters().puts == 1);
  CHECK(s3->counters().uploads == 0);
  CHECK(*read(file, 1, 3) == "ell");
  file.reset();
  REQUIRE(sync().ok());
  s3->clear_requests();
  auto again = open("new");
  REQUIRE(again.ok());
  CHECK(*read(*again, 0, 100) == "hello");
  for (int i = 0; i < 6000 && !(*again)->sealed(); ++i)  // the draft ends behind its answer
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK((*again)->sealed());
  CHECK(s3->count(s3::Verb::kGet) == 0);  // what was written is the cache
}

TEST_CASE_METHOD(DraftFixture, "an empty new file goes up at its last close, once") {
  auto file = create("empty");
  REQUIRE(flush(file).ok());
  CHECK(s3->counters().puts == 0);
  file.reset();
  REQUIRE(sync().ok());
  CHECK(object("empty") == "");
  CHECK(s3->counters().puts == 1);
}

TEST_CASE_METHOD(DraftFixture, "closing an empty new file and then writing it is one PUT") {
  auto file = create("f");
  REQUIRE(flush(file).ok());
  REQUIRE(write(file, 0, "x").ok());
  REQUIRE(flush(file).ok());
  file.reset();
  REQUIRE(sync().ok());
  CHECK(object("f") == "x");
  CHECK(s3->counters().puts == 1);
}

TEST_CASE_METHOD(DraftFixture, "a large new file goes up in parts while it is written") {
  auto file = create("big");
  const std::string piece = pattern(0, 1 << 20);
  for (int i = 0; i < 23; ++i) REQUIRE(write(file, int64_t{i} << 20, piece).ok());
  REQUIRE(flush(file).ok());
  CHECK(s3->counters().uploads == 1);
  CHECK(s3->counters().parts == 5);
  CHECK(s3->counters().completes == 1);
  CHECK(s3->counters().puts == 0);
  std::string all;
  for (int i = 0; i < 23; ++i) all += piece;
  CHECK(object("big") == all);
}

TEST_CASE_METHOD(DraftFixture, "a part that is written again after it went up is sent again") {
  auto file = create("big");
  const std::string piece(1 << 20, 'a');
  for (int i = 0; i < 22; ++i) REQUIRE(write(file, int64_t{i} << 20, piece).ok());
  REQUIRE(write(file, 10, "bbb").ok());
  REQUIRE(flush(file).ok());
  std::string all(22 << 20, 'a');
  all.replace(10, 3, "bbb");
  CHECK(object("big") == all);
  CHECK(s3->counters().uploads == 1);
}

TEST_CASE_METHOD(DraftFixture,
                 "one byte of a large object that is not cached: one part up, the rest copied") {
  put_pattern("obj", 40 << 20);
  auto file = open_to_write("obj");
  s3->clear_requests();
  const auto gets = s3->counters().gets;
  REQUIRE(write(file, 5'000'000, "!").ok());
  std::string expect = pattern(0, 40 << 20);
  expect[5'000'000] = '!';
  CHECK(*read(file, 4'999'990, 20) == expect.substr(4'999'990, 20));
  REQUIRE(flush(file).ok());
  CHECK(object("obj") == expect);
  CHECK(s3->counters().parts == 1);
  CHECK(s3->counters().part_copies >= 1);
  CHECK(s3->counters().gets - gets < 20);
  CHECK(*read(file, 0, 100) == expect.substr(0, 100));
  CHECK(*read(file, 4'999'990, 20) == expect.substr(4'999'990, 20));
  CHECK(*read(file, 35'000'000, 1000) == expect.substr(35'000'000, 1000));
}

TEST_CASE_METHOD(DraftFixture, "a server that copies parts without checksums completes edits all the same") {
  s3->set_copies_have_checksums(false);
  put_pattern("obj", 40 << 20);
  std::string expect = pattern(0, 40 << 20);
  for (const int64_t at : {5'000'000, 25'000'000}) {
    auto file = open_to_write("obj");
    REQUIRE(write(file, at, "!").ok());
    expect[static_cast<size_t>(at)] = '!';
    REQUIRE(flush(file).ok());
    CHECK(object("obj") == expect);
  }
  CHECK(s3->counters().uploads == 3);  // the first one began with checksums
  CHECK(s3->counters().aborts == 1);
}

TEST_CASE_METHOD(DraftFixture,
                 "a large file cut down to nothing while its parts are on S3 is an empty object") {
  auto file = create("f");
  const std::string piece(1 << 20, 'a');
  for (int i = 0; i < 16; ++i) REQUIRE(write(file, int64_t{i} << 20, piece).ok());
  for (int i = 0; i < 6000 && s3->counters().uploads == 0; ++i)  // it is announced on disk first
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  REQUIRE(s3->counters().uploads == 1);
  REQUIRE(truncate(file, 0).ok());
  REQUIRE(flush(file).ok());
  CHECK(object("f") == "");
  REQUIRE(sync().ok());
  CHECK(s3->counters().aborts == 1);
}

TEST_CASE_METHOD(DraftFixture,
                 "fsync of a file that is written and cut all the time: done, and what it had is there") {
  for (const int64_t size : {int64_t{1} << 20, int64_t{12} << 20}) {
    INFO("size " << size);
    auto file = create("hot" + std::to_string(size));
    REQUIRE(write(file, 0, std::string(static_cast<size_t>(size), 'a')).ok());
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      for (int64_t i = 0; !stop; ++i) {
        (void)write(file, 4096 + i % 500'000, "b");
        if (i % 64 == 0) {
          (void)truncate(file, size - 1);
          (void)truncate(file, size);
        }
      }
    });
    for (int i = 0; i < 10; ++i) {
      REQUIRE(write(file, 0, std::to_string(i)).ok());
      CHECK(fsync(file).ok());
      CHECK(object("hot" + std::to_string(size)).substr(0, 1) == std::to_string(i));
    }
    stop = true;
    writer.join();
    REQUIRE(flush(file).ok());
    std::string now;
    while (static_cast<int64_t>(now.size()) < size)
      now += *read(file, static_cast<int64_t>(now.size()), 1 << 20);
    CHECK(object("hot" + std::to_string(size)) == now);
  }
}

TEST_CASE_METHOD(DraftFixture,
                 "a cached file is changed in place: a reader that holds its descriptor sees it") {
  put_pattern("obj", 3 << 20);
  auto reader = open("obj");
  REQUIRE(reader.ok());
  for (int i = 0; i < 3; ++i) REQUIRE(read(*reader, int64_t{i} << 20, 1 << 20).ok());
  while (!(*reader)->sealed()) std::this_thread::yield();
  auto backing = (*reader)->backing_fd();
  REQUIRE(backing.ok());
  const UniqueFd fd(*backing);
  auto writer = open_to_write("obj");
  CHECK_FALSE((*reader)->sealed());
  REQUIRE(write(writer, 1'000'000, "local").ok());
  char bytes[5];
  REQUIRE(::pread(fd.get(), bytes, 5, 1'000'000) == 5);
  CHECK(std::string(bytes, 5) == "local");
  CHECK(*read(*reader, 1'000'000, 5) == "local");
  REQUIRE(truncate(writer, 2'000'000).ok());
  REQUIRE(flush(writer).ok());
  std::string expect = pattern(0, 2'000'000);
  expect.replace(1'000'000, 5, "local");
  CHECK(object("obj") == expect);
  CHECK(*read(*reader, 1'999'990, 100) == expect.substr(1'999'990));
  writer.reset();
  REQUIRE(sync().ok());
  while (!(*reader)->sealed()) std::this_thread::yield();
  CHECK((*reader)->attr().size == 2'000'000);
}

TEST_CASE_METHOD(DraftFixture, "cut down and grown again: zeros, never the base's bytes") {
  put_pattern("obj", 3 << 20);
  auto file = open_to_write("obj");
  REQUIRE(truncate(file, 1000).ok());
  REQUIRE(truncate(file, 5000).ok());
  CHECK(*read(file, 0, 10'000) == pattern(0, 1000) + std::string(4000, '\0'));
  REQUIRE(write(file, 8000, "end").ok());
  REQUIRE(flush(file).ok());
  CHECK(object("obj") == pattern(0, 1000) + std::string(7000, '\0') + "end");
}

TEST_CASE_METHOD(DraftFixture, "who opened the file while it was empty reads what was written since") {
  auto writer = create("f");
  REQUIRE(write(writer, 0, "x").ok());
  REQUIRE(truncate(writer, 0).ok());
  writer.reset();
  REQUIRE(sync().ok());
  auto reader = open("f");
  REQUIRE(reader.ok());
  REQUIRE(*read(*reader, 0, 10) == "");
  writer = open_to_write("f");
  REQUIRE(write(writer, 0, "hello").ok());
  CHECK(*read(*reader, 0, 10) == "hello");
  REQUIRE(flush(writer).ok());
  writer.reset();
  REQUIRE(sync().ok());
  CHECK(*read(*reader, 0, 10) == "hello");
}

TEST_CASE_METHOD(DraftFixture, "a file that is renamed is read on, and written on, through what is open") {
  put("obj", pattern(0, 8 << 20));
  put("cold", pattern(0, 8 << 20));
  auto reader = open("obj");
  REQUIRE(reader.ok());
  REQUIRE(read(*reader, 0, 100).ok());
  auto writer = open_to_write("obj");
  REQUIRE(write(writer, 100, "before").ok());
  const auto rename = [&](const std::string& from, const std::string& to) {
    return wait<void>([&](auto done) { fs->rename(meta::kRootIno, from, meta::kRootIno, to, 0, done); });
  };
  REQUIRE(rename("obj", "new").ok());
  REQUIRE(write(writer, 200, "after").ok());
  std::string expect = pattern(0, 8 << 20);
  expect.replace(100, 6, "before");
  expect.replace(200, 5, "after");
  CHECK(*read(*reader, 7'000'000, 1000) == expect.substr(7'000'000, 1000));
  REQUIRE(flush(writer).ok());
  writer.reset();
  REQUIRE(sync().ok());
  CHECK(object("new") == expect);
  CHECK(object("obj") == "absent");
  CHECK(*read(*reader, 0, 1000) == expect.substr(0, 1000));

  // Its copy has another ETag.
  auto cold = open("cold");
  REQUIRE(cold.ok());
  REQUIRE(read(*cold, 0, 100).ok());
  REQUIRE(rename("cold", "moved").ok());
  REQUIRE(sync().ok());
  CHECK(*read(*cold, 7'000'000, 1000) == pattern(7'000'000, 1000));
}

TEST_CASE_METHOD(DraftFixture, "O_TRUNC asks for nothing of the old bytes") {
  put_pattern("obj", 3 << 20);
  auto file = open_to_write("obj", true);
  const auto gets = s3->counters().gets;
  REQUIRE(write(file, 0, "short").ok());
  REQUIRE(flush(file).ok());
  CHECK(s3->counters().gets == gets);
  CHECK(object("obj") == "short");
  CHECK(s3->counters().puts == 1);
}

TEST_CASE_METHOD(DraftFixture, "the version stays the same through a write, its upload and a remount") {
  put("obj", std::string(5000, 'o'));
  auto file = open_to_write("obj");
  const uint64_t version = file->version();
  REQUIRE(write(file, 0, "new").ok());
  REQUIRE(flush(file).ok());
  file.reset();
  REQUIRE(sync().ok());
  auto again = open("obj");
  REQUIRE(again.ok());
  CHECK((*again)->version() == version);
  CHECK(*read(*again, 0, 5) == "newoo");
}

TEST_CASE_METHOD(DraftFixture, "an upload that fails says so, keeps the bytes, and is tried again") {
  s3->set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
    if (r.verb == s3::Verb::kPut) return Error{Code::kUnavailable, "down"};
    return std::nullopt;
  });
  auto file = create("f");
  REQUIRE(write(file, 0, "kept").ok());
  CHECK(flush(file).is(Code::kUnavailable));
  CHECK(*read(file, 0, 10) == "kept");
  s3->set_failure(nullptr);
  clock.advance_ms(120'000);
  for (int i = 0; i < 4000 && object("f") == "absent"; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  CHECK(object("f") == "kept");
}

TEST_CASE("an upload whose answer was lost leaves no object when its file is removed or renamed") {
  DraftFixture f;
  f.unmount();
  f.fresh_server();
  s3::FaultyS3 faulty(*f.s3, [](const s3::RequestInfo& r) -> s3::Fault {
    if (r.verb != s3::Verb::kPut || r.key != "f") return {};
    return {.kind = s3::Fault::Kind::kLostAnswer, .error = Error{Code::kUnavailable, "the answer was lost"}};
  });
  f.client = &faulty;
  f.mount();
  auto file = f.create("f");
  REQUIRE(f.write(file, 0, "data").ok());
  REQUIRE_FALSE(f.flush(file).ok());
  REQUIRE(f.object("f") == "data");
  SECTION("removed") {
    file.reset();
    REQUIRE(f.wait<void>([&](auto done) { f.fs->unlink(meta::kRootIno, "f", done); }).ok());
    for (int i = 0; i < 1000 && f.object("f") != "absent"; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE(f.object("f") == "absent");
  }
  SECTION("removed while it is open") {
    REQUIRE(f.wait<void>([&](auto done) { f.fs->unlink(meta::kRootIno, "f", done); }).ok());
    for (int i = 0; i < 1000 && f.object("f") != "absent"; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE(f.object("f") == "absent");
    REQUIRE(*f.read(file, 0, 10) == "data");
  }
  file.reset();
  f.unmount();
}

namespace {
// A file of three parts, two of which are up when it returns.
DraftFixture::File streamed(DraftFixture& f) {
  auto file = f.create("big");
  const std::string piece(1 << 20, 'a');
  for (int i = 0; i < 12; ++i) REQUIRE(f.write(file, int64_t{i} << 20, piece).ok());
  return file;
}
}  // namespace

TEST_CASE_METHOD(DraftFixture, "attributes set while parts are on their way are the object's in the end") {
  auto file = streamed(*this);
  SetAttr what;
  what.mode = 0600;
  what.mtime_ns = 1'234'567'890'000'000'001;
  auto set = wait<Entry>([&](auto done) { fs->setattr(file->ino(), file, what, done); });
  REQUIRE(set.ok());
  REQUIRE(flush(file).ok());
  CHECK(header("big", "x-amz-meta-mode") == std::to_string(0100600));
  CHECK(header("big", "x-amz-meta-mtime") == "1234567890.000000001");
  CHECK(s3->counters().uploads == 1);
  CHECK(s3->counters().copies == 1);
  CHECK(file->attr().mtime_ns == 1'234'567'890'000'000'001);
}

TEST_CASE_METHOD(DraftFixture, "an upload in parts and the file's record agree on its mtime") {
  const int64_t begun = clock.wall_s();
  auto file = streamed(*this);
  SECTION("written within seconds: the time of its first part") {
    clock.advance_s(3);
    REQUIRE(write(file, 0, "b").ok());
    REQUIRE(flush(file).ok());
    CHECK(s3->counters().copies == 0);
    CHECK(file->attr().mtime_ns / 1'000'000'000 == begun);
  }
  SECTION("written for longer: the time of its last write, by a copy after the close") {
    clock.advance_s(60);
    REQUIRE(write(file, 0, "b").ok());
    REQUIRE(flush(file).ok());
    CHECK(file->attr().mtime_ns / 1'000'000'000 == begun + 60);
    const auto there = [&] { return parse_time_ns(header("big", "x-amz-meta-mtime")); };
    for (int i = 0; i < 6000 && there() != file->attr().mtime_ns; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(s3->counters().copies == 1);
  }
  const std::string on_s3 = header("big", "x-amz-meta-mtime");
  CHECK(parse_time_ns(on_s3) == file->attr().mtime_ns);
}

TEST_CASE_METHOD(DraftFixture,
                 "a file that is written while its chmod is on its way keeps what was written") {
  put("obj", std::string(5000, 'o'));
  auto file = open_to_write("obj");
  s3->set_manual(true);
  std::promise<Result<Entry>> chmod;
  SetAttr what;
  what.mode = 0600;
  fs->setattr(file->ino(), nullptr, what, [&](Result<Entry> r) { chmod.set_value(std::move(r)); });
  const auto copies = [&] { return s3->counters().copies; };
  for (int i = 0; i < 6000 && copies() == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  REQUIRE(copies() == 1);  // its answer is held
  REQUIRE(write(file, 6000, "end").ok());
  s3->set_manual(false);
  auto changed = chmod.get_future().get();
  REQUIRE(changed.ok());
  const auto shown = wait<Entry>([&](auto done) { fs->names().getattr({1}, file->ino(), done); });
  REQUIRE(shown.ok());
  CHECK(shown->attr.size == 6003);
  CHECK((shown->attr.mode & 07777) == 0600);
  REQUIRE(write(file, 6003, "less").ok());
  const Status saved = flush(file);
  REQUIRE(saved.ok());  // the copy's ETag is what it builds on
  CHECK(object("obj") == std::string(5000, 'o') + std::string(1000, '\0') + "endless");
  CHECK(header("obj", "x-amz-meta-mode") == std::to_string(0100600));
}
