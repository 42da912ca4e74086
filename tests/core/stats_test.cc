// What the mount still owes S3, as `s3cache status` and the unmount hear it.
#include "core/stats.h"

#include "core/sync_wait.h"
#include "draft_fixture.h"

using namespace s3cache;
using namespace s3cache::core;

TEST_CASE_METHOD(DraftFixture, "count, bytes and the last error of what is not on S3") {
  CHECK(fs->stats().clean());
  s3->set_failure([](const s3::RequestInfo& r) -> std::optional<Error> {
    if (r.verb == s3::Verb::kPut) return Error{Code::kUnavailable, "down"};
    return std::nullopt;
  });
  auto file = create("f");
  REQUIRE(write(file, 0, "0123456789").ok());
  Stats stats = fs->stats();
  CHECK(stats.dirty_files == 1);
  CHECK(stats.dirty_bytes == 10);
  CHECK_FALSE(stats.trouble);
  CHECK(flush(file).is(Code::kUnavailable));
  stats = fs->stats();
  REQUIRE(stats.trouble);
  CHECK(stats.trouble->key == "f");
  CHECK(stats.trouble->error.message == "down");
  CHECK(stats.requests.puts == 1);
  CHECK(stats.cache_bytes > 0);
  s3->set_failure(nullptr);
  REQUIRE(sync().ok());
  stats = fs->stats();
  CHECK(stats.clean());
  CHECK_FALSE(stats.trouble);
}

TEST_CASE_METHOD(DraftFixture, "parts that are on S3 already do not count as left") {
  auto file = create("big");
  const std::string piece(1 << 20, 'a');
  for (int i = 0; i < 12; ++i) REQUIRE(write(file, int64_t{i} << 20, piece).ok());
  for (int i = 0; i < 2000 && fs->stats().dirty_bytes > 7 << 20; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const int64_t left = fs->stats().dirty_bytes;
  CHECK((left == 7 << 20 || left == 2 << 20));  // one or two parts of 5 MiB are there
  REQUIRE(write(file, 10, "again").ok());
  // The second part may have arrived between the two looks.
  const int64_t now = fs->stats().dirty_bytes;
  CHECK((now == left || now == left + (5 << 20)));
  REQUIRE(flush(file).ok());
  CHECK(fs->stats().clean());
}

TEST_CASE_METHOD(DraftFixture,
                 "waiting for everything tries again on its own, long before the back-off ends") {
  std::atomic<bool> down = true;
  s3->set_failure([&down](const s3::RequestInfo& r) -> std::optional<Error> {
    if (down && r.verb == s3::Verb::kPut) return Error{Code::kUnavailable, "down"};
    return std::nullopt;
  });
  auto file = create("f");
  REQUIRE(write(file, 0, "kept").ok());
  for (int i = 0; i < 8; ++i) CHECK(flush(file).is(Code::kUnavailable));  // the back-off is a minute by now
  SyncWait wait(*fs, clock, [] {});
  std::optional<Status> ended;
  const auto step = [&] {
    clock.advance_ms(250);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ended = wait.step();
  };
  for (int i = 0; i < 40 && !ended; ++i) step();
  CHECK_FALSE(ended);
  down = false;
  for (int i = 0; i < 40 && !ended; ++i) step();
  REQUIRE(ended);
  CHECK(ended->ok());
  CHECK(object("f") == "kept");
}
