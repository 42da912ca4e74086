// copy_range, and what may happen to the target while the server copies.
#include <catch2/catch.hpp>

#include "core/draft_fixture.h"

using namespace s3cache;
using namespace s3cache::core;

namespace {

constexpr int64_t kSize = 2 << 20;

class Copies : public DraftFixture {
 public:
  Copies() {
    put_pattern("from", kSize);
    put_pattern("old", 3 << 20);
    source = *open("from");
  }
  using Done = std::future<Result<size_t>>;
  Done start(const File& to) {
    auto promise = std::make_shared<std::promise<Result<size_t>>>();
    fs->copy_range(source, 0, to, 0, kSize,
                   [promise](Result<size_t> r) { promise->set_value(std::move(r)); });
    return promise->get_future();
  }
  // A copy that the server has made, and whose answer is held.
  Done start_held(const File& to) {
    s3->set_manual(true);
    auto done = start(to);
    for (int i = 0; i < 6000 && s3->counters().copies == 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    REQUIRE(s3->counters().copies == 1);
    return done;
  }
  SetAttr mode(uint32_t bits) {
    SetAttr what;
    what.mode = bits;
    return what;
  }
  std::string read_all(const File& file) {
    std::string out;
    for (;;) {
      auto piece = read(file, static_cast<int64_t>(out.size()), 1 << 20);
      REQUIRE(piece.ok());
      if (piece->empty()) return out;
      out += *piece;
    }
  }

  File source;
};

}  // namespace

TEST_CASE_METHOD(Copies, "a whole file is copied by the server; what is written then builds on the copy") {
  auto to = create("to");
  auto done = in_time(start(to));
  REQUIRE(done.ok());
  CHECK(*done == kSize);
  CHECK(s3->counters().gets == 0);
  CHECK(s3->counters().puts == 0);
  CHECK(object("to") == pattern(0, kSize));
  CHECK(to->attr().size == kSize);
  CHECK(read_all(to) == pattern(0, kSize));
  REQUIRE(write(to, 10, "new").ok());
  REQUIRE(flush(to).ok());
  CHECK(object("to") == pattern(0, 10) + "new" + pattern(13, kSize - 13));
  CHECK(object("from") == pattern(0, kSize));
}

TEST_CASE_METHOD(Copies, "a file that is emptied first takes a copy, unless somebody reads it in place") {
  auto cached = open("old");
  REQUIRE(cached.ok());
  CHECK(read_all(*cached).size() == 3 << 20);
  // In the cache whole: only then it is changed in place.
  for (int i = 0; i < 6000 && !(*cached)->sealed(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  REQUIRE((*cached)->sealed());
  const bool reader = GENERATE(false, true);
  if (!reader) cached->reset();
  auto to = open_to_write("old", true);
  auto done = in_time(start(to));
  if (reader) {
    CHECK(done.is(Code::kUnsupported));
    return;
  }
  REQUIRE(done.ok());
  CHECK(object("old") == pattern(0, kSize));
  CHECK(read_all(to) == pattern(0, kSize));
  CHECK(sync().ok());
  CHECK(object("old") == pattern(0, kSize));
}

TEST_CASE_METHOD(Copies, "parts of files, unsaved sources and targets with bytes are read and written") {
  auto to = create("to");
  auto part = wait<size_t>([&](auto done) { fs->copy_range(source, 4096, to, 0, kSize - 4096, done); });
  CHECK(part.is(Code::kUnsupported));
  REQUIRE(write(to, 0, "x").ok());
  CHECK(in_time(start(to)).is(Code::kUnsupported));
  auto other = create("other");
  auto writer = open_to_write("from");
  REQUIRE(write(writer, 0, "x").ok());
  CHECK(in_time(start(other)).is(Code::kUnsupported));
  CHECK(s3->counters().copies == 0);
}

TEST_CASE_METHOD(Copies, "written while the server copies: the bytes written are the file") {
  auto to = create("to");
  auto held = start_held(to);
  REQUIRE(write(to, 0, "mine").ok());
  s3->set_manual(false);
  CHECK(in_time(std::move(held)).is(Code::kUnsupported));
  CHECK(to->attr().size == 4);
  REQUIRE(truncate(to, 10).ok());
  REQUIRE(flush(to).ok());
  const std::string want = "mine" + std::string(6, '\0');
  CHECK(object("to") == want);
  CHECK(read_all(to) == want);
}

TEST_CASE_METHOD(Copies, "attributes set while the server copies reach the object") {
  auto to = create("to");
  auto held = start_held(to);
  auto set = wait<Entry>([&](auto done) { fs->setattr(to->ino(), to, mode(0600), done); });
  CHECK(set.ok());
  s3->set_manual(false);
  REQUIRE(in_time(std::move(held)).ok());
  REQUIRE(flush(to).ok());
  REQUIRE(sync().ok());
  CHECK(header("to", "x-amz-meta-mode") == std::to_string(0100600));
  CHECK(object("to") == pattern(0, kSize));
}

TEST_CASE_METHOD(Copies, "attributes set while an empty file's first upload is on its way reach the object") {
  auto to = create("to", true);
  s3->set_manual(true);
  std::promise<Status> saved;
  fs->fsync(to, false, [&](const Status& s) { saved.set_value(s); });
  REQUIRE(s3->wait_pending(1));
  auto set = wait<Entry>([&](auto done) { fs->setattr(to->ino(), to, mode(0600), done); });
  CHECK(set.ok());
  s3->set_manual(false);
  REQUIRE(in_time(saved.get_future()).ok());
  REQUIRE(sync().ok());
  CHECK(header("to", "x-amz-meta-mode") == std::to_string(0100600));
  CHECK(s3->counters().puts == 1);
}

TEST_CASE_METHOD(Copies,
                 "a name that somebody else took is theirs, a source that was replaced is not copied") {
  auto to = create("to", true);
  put("to", "theirs");
  CHECK(in_time(start(to)).is(Code::kUnsupported));
  CHECK(object("to") == "theirs");
  auto other = create("other");
  put_pattern("from", kSize);
  CHECK(in_time(start(other)).is(Code::kUnsupported));
  CHECK(object("other") == "absent");
}
