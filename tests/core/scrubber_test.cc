#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "base/bytes.h"
#include "core_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using meta::Table;

namespace {

constexpr int64_t kWeek = 7 * 86400;

struct Scrubbed : CoreFixture {
  Scrubbed() : CoreFixture(with_scrub()) {}
  static FilesystemOptions with_scrub() {
    auto o = defaults();
    o.scrub_interval_s = kWeek;
    return o;
  }
  meta::Inode inode(const std::string& name, uint64_t* ino = nullptr) {
    const auto found =
        wait<LookupReply>([&](auto done) { fs->names().lookup({1}, meta::kRootIno, name, done); });
    REQUIRE(found.ok());
    if (ino != nullptr) *ino = found->entry.attr.ino;
    const auto value = store->get(Table::kInode, meta::id_key(found->entry.attr.ino));
    REQUIRE((value.ok() && value->has_value()));
    return *meta::Inode::decode(**value);
  }
  // Cached, sealed and closed again. Returns its cache file's id.
  uint64_t cache(const std::string& name) {
    auto file = open(name);
    REQUIRE(file.ok());
    const int64_t size = (*file)->attr().size;
    for (int64_t at = 0; at < size; at += 1 << 20) REQUIRE(read(*file, at, 1 << 20).ok());
    for (int i = 0; i < 500 && !(*file)->sealed(); i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE((*file)->sealed());
    return inode(name).fid;
  }
  void flip_bit(uint64_t fid, int64_t at) {
    const int fd = ::open(dir->file_path(fid).c_str(), O_RDWR);
    REQUIRE(fd >= 0);
    char byte = 0;
    CHECK(::pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10;
    CHECK(::pwrite(fd, &byte, 1, at) == 1);
    ::close(fd);
  }
  // (began, next fid) of the pass.
  std::pair<int64_t, uint64_t> progress() {
    const auto value = store->get(Table::kState, "scrub/progress");
    if (!value.ok() || !value->has_value()) return {0, 0};
    return {static_cast<int64_t>(read_be64((*value)->substr(0, 8))), read_be64((*value)->substr(8))};
  }
  // Until the janitor's thread has been here once: a new cache's first week begins then.
  void wait_for_first_look() {
    for (int i = 0; i < 1500 && progress().first == 0; i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE(progress().first != 0);
  }
  // Lets the pass that is due begin and end.
  bool pass() {
    for (int i = 0; i < 1500; i++) {
      const auto [began, next] = progress();
      if (began == clock.wall_s() && next == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  bool on_disk(uint64_t fid) { return ::access(dir->file_path(fid).c_str(), F_OK) == 0; }
};

}  // namespace

TEST_CASE("A scrub finds flipped bits in sealed files, and they are fetched again as new files") {
  Scrubbed f;
  f.put_pattern("small", 100'000);
  f.put_pattern("large", 9 << 20);
  f.put_pattern("good", 200'000);
  const uint64_t small = f.cache("small"), large = f.cache("large"), good = f.cache("good");
  f.flip_bit(small, 70'000);
  f.flip_bit(large, (9 << 20) - 5);
  f.s3->clear_requests();
  f.wait_for_first_look();
  CHECK(f.on_disk(small));  // a new cache is not doubted at once
  f.clock.advance_s(kWeek + 1);
  REQUIRE(f.pass());
  CHECK_FALSE(f.on_disk(small));
  CHECK_FALSE(f.on_disk(large));
  CHECK(f.on_disk(good));
  CHECK(f.s3->count(s3::Verb::kGet) == 0);
  for (const char* name : {"small", "large"}) {
    const uint64_t again = f.cache(name);
    CHECK((again != small && again != large));
    const auto file = f.open(name);
    CHECK(CoreFixture::is_pattern(*f.read(*file, 0, 100'000), 0));
  }
  CHECK(f.cache("good") == good);
}

TEST_CASE("A scrub leaves open and locally changed files alone, and goes on after a remount") {
  Scrubbed f;
  f.put_pattern("open", 100'000);
  f.put_pattern("local", 100'000);
  const uint64_t held = f.cache("open"), local = f.cache("local");
  auto handle = f.open("open");
  REQUIRE(handle.ok());
  uint64_t ino = 0;
  auto inode = f.inode("local", &ino);
  inode.source = meta::AttrSource::kLocal;
  meta::Batch batch;
  batch.put(Table::kInode, meta::id_key(ino), inode.encode());
  f.store->apply(std::move(batch));
  f.flip_bit(held, 5);
  f.flip_bit(local, 5);
  f.wait_for_first_look();
  f.clock.advance_s(kWeek + 1);
  REQUIRE(f.pass());
  CHECK(f.on_disk(held));
  CHECK(f.on_disk(local));
  handle = Error{Code::kStale, ""};
  const auto began = f.progress().first;
  f.remount();
  f.clock.advance_s(kWeek / 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(f.progress().first == began);  // the pass counts
  f.clock.advance_s(kWeek);
  REQUIRE(f.pass());
  CHECK_FALSE(f.on_disk(held));
  CHECK(f.on_disk(local));
}

TEST_CASE("A scrub waits while files are opened") {
  Scrubbed f;
  f.put_pattern("a", 100'000);
  const uint64_t fid = f.cache("a");
  f.flip_bit(fid, 5);
  f.wait_for_first_look();
  f.clock.advance_s(kWeek - 1);
  {
    const auto opened = f.open("a");
  }  // a second before the pass is due: never between its looks at the file
  f.clock.advance_s(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  CHECK(f.on_disk(fid));
  f.clock.advance_s(3);
  for (int i = 0; i < 500 && f.on_disk(fid); i++) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK_FALSE(f.on_disk(fid));
}
