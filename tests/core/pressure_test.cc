// Writing into a cache that is full of what S3 has not got yet.
#include "draft_fixture.h"

using namespace s3cache;
using namespace s3cache::core;

namespace {

constexpr int64_t kMiB = 1 << 20;

FilesystemOptions small_cache() {
  FilesystemOptions o = DraftFixture::writable();
  o.budget.limit = 40 * kMiB;
  return o;
}

std::optional<Error> refuse_writes(const s3::RequestInfo& r) {
  if (r.verb == s3::Verb::kPut || r.verb == s3::Verb::kCreateUpload)
    return Error{Code::kAccessDenied, "nobody writes here"};
  return std::nullopt;
}

}  // namespace

class PressureFixture : public DraftFixture {
 public:
  PressureFixture() : DraftFixture(small_cache()) {}

  std::string piece(int i) { return std::string(kMiB, static_cast<char>('a' + i % 26)); }
  // Starts a write that may have to wait.
  std::future<Result<size_t>> begin_write(const File& file, int64_t offset, const std::string& data) {
    auto answer = std::make_shared<std::promise<Result<size_t>>>();
    auto future = answer->get_future();
    fs->write(file, offset, std::as_bytes(std::span(data)),
              [answer](Result<size_t> n) { answer->set_value(n); });
    return future;
  }
  static bool answered(std::future<Result<size_t>>& write, int ms) {
    return write.wait_for(std::chrono::milliseconds(ms)) == std::future_status::ready;
  }
  // Writes until one waits; returns it and how many MiB there are.
  std::pair<std::future<Result<size_t>>, int> fill(const File& file) {
    for (int i = 0; i < 200; ++i) {
      auto write = begin_write(file, i * kMiB, piece(i));
      if (!answered(write, 300)) return {std::move(write), i};
      REQUIRE(write.get().ok());
    }
    FAIL("the cache never filled");
    return {};
  }
};

TEST_CASE_METHOD(PressureFixture, "a file three times the cache goes up while it is written") {
  auto file = create("big");
  for (int i = 0; i < 100; ++i) REQUIRE(write(file, i * kMiB, piece(i)).ok());
  CHECK(fs->stats().cache_bytes <= 40 * kMiB);
  CHECK(*read(file, 3 * kMiB, 10) == piece(3).substr(0, 10));
  CHECK(*read(file, 98 * kMiB, 10) == piece(98).substr(0, 10));
  REQUIRE(flush(file).ok());
  std::string all;
  for (int i = 0; i < 100; ++i) all += piece(i);
  CHECK(object("big") == all);
  CHECK(s3->counters().completes >= 3);
}

TEST_CASE_METHOD(PressureFixture,
                 "a waiting write goes on when the server is back, and later ones keep behind it") {
  std::atomic<bool> down = true;
  s3->set_failure([&down](const s3::RequestInfo& r) -> std::optional<Error> {
    if (down && r.verb != s3::Verb::kHead && r.verb != s3::Verb::kList)
      return Error{Code::kUnavailable, "down"};
    return std::nullopt;
  });
  auto file = create("f"), other = create("g");
  auto [waiting, count] = fill(file);
  CHECK(count > 15);
  auto behind = begin_write(other, 0, "tiny");
  auto in_place = begin_write(file, 0, "XYZ");  // needs no room: it waits all the same
  CHECK_FALSE(answered(behind, 300));
  CHECK_FALSE(answered(in_place, 0));
  down = false;
  for (int i = 0; i < 100 && !answered(in_place, 50); ++i) clock.advance_ms(1000);
  CHECK(*waiting.get() == size_t{kMiB});
  CHECK(*behind.get() == 4);
  CHECK(*in_place.get() == 3);
  REQUIRE(sync().ok());
  std::string all;
  for (int i = 0; i <= count; ++i) all += piece(i);
  all.replace(0, 3, "XYZ");
  CHECK(object("f") == all);
  CHECK(object("g") == "tiny");
}

TEST_CASE_METHOD(PressureFixture,
                 "no room and no upload that may make some: kNoSpace, and the mount goes on") {
  SECTION("the server takes nothing") {
    s3->set_failure(refuse_writes);
    auto file = create("f");
    int i = 0;
    Result<size_t> written(size_t{0});
    while (written.ok() && i < 100) written = write(file, i++ * kMiB, piece(0));
    CHECK(written.is(Code::kNoSpace));
    CHECK(i > 15);
    s3->set_failure(nullptr);
  }
  SECTION("a server that does not come back for five minutes") {
    s3->set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
      if (r.verb == s3::Verb::kHead || r.verb == s3::Verb::kList) return std::nullopt;
      return Error{Code::kUnavailable, "down"};
    });
    auto file = create("f");
    auto [waiting, count] = fill(file);
    for (int i = 0; i < 28; ++i) clock.advance_ms(10'000);
    CHECK_FALSE(answered(waiting, 1000));
    for (int i = 0; i < 100 && !answered(waiting, 50); ++i) clock.advance_ms(10'000);
    CHECK(waiting.get().is(Code::kNoSpace));
    s3->set_failure(nullptr);
  }
  // An upload that was refused before the server came back may still answer the first one.
  bool synced = false;
  for (int i = 0; i < 200 && !synced; ++i) {
    synced = sync().ok();
    if (!synced) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  REQUIRE(synced);
  auto after = create("after");
  REQUIRE(write(after, 0, piece(1)).ok());
  REQUIRE(flush(after).ok());
  CHECK(object("after") == piece(1));
}

TEST_CASE_METHOD(PressureFixture, "an unmount ends the writes that wait, and keeps those before") {
  s3->set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
    if (r.verb == s3::Verb::kHead || r.verb == s3::Verb::kList) return std::nullopt;
    return Error{Code::kUnavailable, "down"};
  });
  auto file = create("f");
  auto [waiting, count] = fill(file);
  file.reset();
  unmount();
  CHECK(waiting.get().is(Code::kCancelled));
  fresh_server();
  mount();  // what was written before goes up
  REQUIRE(sync().ok());
  CHECK(object("f").size() == static_cast<size_t>(count * kMiB));
}

TEST_CASE_METHOD(PressureFixture,
                 "changes all over a file larger than the cache: its parts take turns in the room") {
  put_pattern("obj", 70 * kMiB);
  std::string expect = pattern(0, 70 * kMiB);
  auto file = open_to_write("obj");
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 14; ++i) {
      const int64_t at = i * 5 * kMiB + 1000 * (round + 1);
      const std::string data = "changed " + std::to_string(i);
      REQUIRE(write(file, at, data).ok());
      expect.replace(static_cast<size_t>(at), data.size(), data);
    }
    REQUIRE(fsync(file).ok());
    CHECK(object("obj") == expect);
    for (int i = 0; i < 14; ++i) {
      const int64_t at = i * 5 * kMiB + 500;
      CHECK(*read(file, at, 5000) == expect.substr(static_cast<size_t>(at), 5000));
    }
  }
  CHECK(fs->stats().cache_bytes <= 40 * kMiB);
}
