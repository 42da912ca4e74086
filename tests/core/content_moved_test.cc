// Open files whose name changes: their bytes are asked for where they are now.
#include "core/core_fixture.h"

namespace s3cache::core {
namespace {

constexpr int64_t kMiB = 1 << 20;

struct Moved : CoreFixture {
  uint64_t ino(uint64_t parent, const std::string& name) {
    const auto found = wait<LookupReply>([&](auto done) { fs->names().lookup({1}, parent, name, done); });
    REQUIRE((found.ok() && found->found));
    return found->entry.attr.ino;
  }
  Status rename(const std::string& from, const std::string& to) {
    std::promise<Status> promise;
    auto future = promise.get_future();
    fs->rename(meta::kRootIno, from, meta::kRootIno, to, 0,
               [&](Status s) { promise.set_value(std::move(s)); });
    REQUIRE(future.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    return future.get();
  }
};

}  // namespace

TEST_CASE("An open, partly cached file is read on after a rename") {
  Moved f;
  f.put_pattern("a", 40 * kMiB);
  const auto file = f.open("a");
  REQUIRE(file.ok());
  REQUIRE(f.read(*file, 0, 4096).ok());
  REQUIRE(f.rename("a", "b").ok());
  for (int i = 0; i < 1000 && f.s3->count(s3::Verb::kDelete) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  REQUIRE(f.s3->count(s3::Verb::kDelete) == 1);  // nothing is left under the old key
  const auto far = f.read(*file, 30 * kMiB, kMiB);
  REQUIRE(far.ok());
  REQUIRE(CoreFixture::is_pattern(*far, 30 * kMiB));
}

TEST_CASE("An open file is read on after its directory was renamed") {
  Moved f;
  f.put_pattern("d/a", 40 * kMiB);
  const uint64_t ino = f.ino(f.ino(meta::kRootIno, "d"), "a");
  const auto file = f.wait<std::shared_ptr<OpenFile>>([&](auto done) {
    f.fs->open({1}, ino, {false, false}, done);
  });
  REQUIRE(file.ok());
  REQUIRE(f.read(*file, 0, 4096).ok());
  REQUIRE(f.rename("d", "e").ok());
  for (int i = 0; i < 1000 && f.s3->count(s3::Verb::kDelete) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const auto far = f.read(*file, 30 * kMiB, kMiB);
  REQUIRE(far.ok());
  REQUIRE(CoreFixture::is_pattern(*far, 30 * kMiB));
}

}  // namespace s3cache::core
