#include "cache/cache_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>

#include "base/crc32c.h"
#include "cache/temp_dir.h"

namespace s3cache::cache {
namespace {

constexpr uint64_t kFid = 0x1234;

struct Fixture {
  explicit Fixture(int64_t size) : data(random_bytes(static_cast<size_t>(size), 42)) { reopen(true); }

  void reopen(bool created) {
    file = std::make_unique<CacheFile>(*dir, fds, kFid, static_cast<int64_t>(data.size()), created);
  }
  // As core does at the next mount: everything the store was told comes back.
  void remount() {
    const CacheChanges c = file->take_changes();
    fds.forget(kFid);
    reopen(false);
    for (const auto& [chunk, bits] : c.maps) file->load_map(chunk, bits);
    for (const auto& crcs : c.crcs) file->load_crcs(crcs);
  }
  Result<int64_t> put(int64_t offset, int64_t length) {
    return file->write(offset,
                       std::span(data).subspan(static_cast<size_t>(offset), static_cast<size_t>(length)));
  }
  void put_all() { REQUIRE(put(0, static_cast<int64_t>(data.size())).ok()); }
  bool reads_right(int64_t offset, int64_t length) {
    std::vector<std::byte> out(static_cast<size_t>(length));
    const auto n = file->read(offset, out);
    return n.ok() && *n == out.size() && std::memcmp(out.data(), data.data() + offset, out.size()) == 0;
  }
  Result<size_t> read(int64_t offset, int64_t length) {
    std::vector<std::byte> out(static_cast<size_t>(length));
    return file->read(offset, out);
  }
  // Flips one byte behind everybody's back.
  void damage(int64_t offset) {
    std::fstream f(dir->file_path(kFid), std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(offset);
    f.put(static_cast<char>(~std::to_integer<int>(data[static_cast<size_t>(offset)])));
  }
  size_t known_crcs() {
    file->put_back_changes([] {
      CacheChanges c;
      c.crcs.emplace_back().chunk = 0;
      return c;
    }());
    const CacheChanges c = file->take_changes();
    return static_cast<size_t>(std::count(c.crcs.at(0).known, c.crcs.at(0).known + 256, true));
  }

  TempDir tmp;
  std::unique_ptr<CacheDir> dir = open_dir(tmp.path());
  FdCache fds{16};
  std::vector<std::byte> data;
  std::unique_ptr<CacheFile> file;
};

TEST_CASE("a writer's file that he is still extending is not resized") {
  Fixture f(5000);
  f.put_all();
  REQUIRE(::truncate(f.dir->file_path(kFid).c_str(), 5074) == 0);
  f.fds.forget(kFid);
  f.reopen(false);
  CHECK(f.file->absorb(0, 5000).is(Code::kBusy));
  struct stat st {};
  REQUIRE(::stat(f.dir->file_path(kFid).c_str(), &st) == 0);
  CHECK(st.st_size == 5074);
}

TEST_CASE("What was written is read back, across a remount") {
  Fixture f(3 * kCrcBlock + 1000);
  CHECK(f.put(0, kCrcBlock).value() == kCrcBlock);
  CHECK(f.put(2 * kCrcBlock, kCrcBlock + 1000).value() == kCrcBlock + 1000);
  CHECK_FALSE(f.file->covers(0, kCrcBlock + 1));
  CHECK(f.file->missing(0, INT64_MAX) == std::vector<Run>{{kCrcBlock, kCrcBlock}});
  CHECK(f.put(kCrcBlock, kCrcBlock).value() == kCrcBlock);
  CHECK(f.put(kCrcBlock, kCrcBlock).value() == 0);
  CHECK(f.file->full());
  struct stat st;
  REQUIRE(::stat(f.dir->file_path(kFid).c_str(), &st) == 0);
  CHECK(st.st_size == static_cast<int64_t>(f.data.size()));
  CHECK(f.reads_right(100, 3 * kCrcBlock));
  f.remount();
  CHECK(f.file->full());
  CHECK(f.reads_right(0, static_cast<int64_t>(f.data.size())));
  CHECK(f.read(static_cast<int64_t>(f.data.size()) - 10, 100).value() == 10);  // short at the end only
  CHECK(f.read(static_cast<int64_t>(f.data.size()), 100).value() == 0);
  CHECK(f.read(-1, 100).is(Code::kInvalid));
}

TEST_CASE("The file has its exact size from the first write on") {
  Fixture f(10 * kCrcBlock + 7);
  CHECK(f.read(0, 10).is(Code::kNotFound));
  CHECK(::access(f.dir->file_path(kFid).c_str(), F_OK) != 0);  // reading makes nothing
  REQUIRE(f.put(4096, 4096).ok());
  const auto fd = f.file->open_readonly();
  REQUIRE(fd.ok());
  struct stat st;
  REQUIRE(::fstat(fd->get(), &st) == 0);
  CHECK(st.st_size == 10 * kCrcBlock + 7);
  CHECK(st.st_blocks * 512 < kCrcBlock);  // sparse
}

TEST_CASE("An empty object is full and has a file of its own for passthrough") {
  Fixture f(0);
  CHECK(f.file->full());
  CHECK(f.file->covers(0, 100));
  CHECK(f.file->open_readonly().ok());
  CHECK(f.file->fdatasync().ok());
}

TEST_CASE("Malformed writes are refused and mark nothing") {
  Fixture f(3 * kPage + 5);
  CHECK(f.put(1, kPage).is(Code::kInvalid));
  CHECK(f.put(0, kPage - 1).is(Code::kInvalid));
  CHECK(f.file->write(3 * kPage, std::span(f.data).first(kPage)).is(Code::kInvalid));  // past the end
  CHECK(f.file->valid_bytes() == 0);
  CHECK(f.put(3 * kPage, 5).value() == 5);
}

TEST_CASE("CRCs come from the buffer, or from the file when a block is assembled") {
  Fixture f(2 * kCrcBlock + 100);
  REQUIRE(f.put(0, kCrcBlock).ok());
  CHECK(f.known_crcs() == 1);
  REQUIRE(f.put(kCrcBlock, 8 * kPage).ok());
  CHECK(f.known_crcs() == 1);
  REQUIRE(f.put(kCrcBlock + 8 * kPage, 8 * kPage + 100).ok());
  CHECK(f.known_crcs() == 3);
  f.file->put_back_changes([] {
    CacheChanges c;
    c.crcs.emplace_back().chunk = 0;
    return c;
  }());
  const CacheChanges c = f.file->take_changes();
  for (int b = 0; b < 3; b++) {
    const size_t n = b < 2 ? kCrcBlock : 100;
    CHECK(c.crcs[0].crc[b] == crc32c(0, f.data.data() + b * kCrcBlock, n));
  }
}

TEST_CASE("A damaged block is found by reads of any size, cleared, and can be fetched again") {
  for (const int64_t length : {kPage, 3 * kCrcBlock}) {
    CAPTURE(length);
    Fixture f(3 * kCrcBlock);
    f.put_all();
    f.remount();
    f.damage(kCrcBlock + 60000);  // not in the 4 KiB that the small read asks for
    const int64_t at = length == kPage ? kCrcBlock : 0;
    const auto bad = f.read(at, length);
    REQUIRE(bad.is(Code::kCorrupt));
    CHECK(bad.error().message.find("1234: block 1") != std::string::npos);
    CHECK(f.file->missing(0, 3 * kCrcBlock) == std::vector<Run>{{kCrcBlock, kCrcBlock}});
    CHECK(f.file->take_changes().maps.size() == 1);  // the store has to hear of it
    CHECK(f.reads_right(0, kCrcBlock));
    CHECK(f.read(at, length).is(Code::kNotFound));
    REQUIRE(f.put(kCrcBlock, kCrcBlock).ok());
    CHECK(f.reads_right(0, 3 * kCrcBlock));
  }
}

TEST_CASE("Verified once, trusted until scrub looks again") {
  Fixture f(3 * kCrcBlock);
  f.put_all();
  CHECK(f.reads_right(0, 3 * kCrcBlock));
  f.damage(kCrcBlock);
  CHECK(f.read(kCrcBlock, kPage).ok());
  CHECK(f.file->scrub(0, INT64_MAX).value() == std::vector<Run>{{kCrcBlock, kCrcBlock}});
  CHECK_FALSE(f.file->covers(kCrcBlock, 1));
  CHECK(f.file->scrub(0, INT64_MAX).value().empty());
}

TEST_CASE("verify = false reads what is there") {
  Fixture f(kCrcBlock);
  f.put_all();
  f.damage(0);
  std::vector<std::byte> out(kPage);
  CHECK(f.file->read(0, out, false).ok());
  CHECK(f.file->read(0, out, true).is(Code::kCorrupt));
}

TEST_CASE("A registered file is immutable, also when it is damaged") {
  Fixture f(2 * kCrcBlock);
  f.put_all();
  f.file->set_registered();
  CHECK(f.put(0, kCrcBlock).is(Code::kInvalid));
  CHECK(f.file->clear(0, kCrcBlock) == 0);
  CHECK(f.file->punch(0, kCrcBlock).is(Code::kInvalid));
  f.damage(5);
  CHECK(f.read(0, kPage).is(Code::kCorrupt));
  CHECK(f.read(0, kPage).is(Code::kCorrupt));
  CHECK(f.file->full());
  CHECK(f.file->scrub(0, INT64_MAX).value().size() == 1);
  CHECK(f.file->full());
}

TEST_CASE("Cleared and punched blocks leave the disk, not the size") {
  Fixture f(32 * kCrcBlock);
  f.put_all();
  REQUIRE(f.file->fdatasync().ok());
  CHECK(f.file->punch(0, kCrcBlock).is(Code::kBusy));  // still valid
  CHECK(f.file->clear(0, 16 * kCrcBlock) == 16 * kCrcBlock);
  CHECK(f.known_crcs() == 16);
  struct stat before, after;
  REQUIRE(::stat(f.dir->file_path(kFid).c_str(), &before) == 0);
  REQUIRE(f.file->punch(0, 16 * kCrcBlock).ok());
  REQUIRE(::stat(f.dir->file_path(kFid).c_str(), &after) == 0);
  CHECK(after.st_size == before.st_size);
  CHECK(after.st_blocks <= before.st_blocks - 16 * kCrcBlock / 512);
  CHECK(f.read(0, 10).is(Code::kNotFound));
  CHECK(f.reads_right(16 * kCrcBlock, 16 * kCrcBlock));
}

TEST_CASE("Changes are few for a small file, come once, and can be put back") {
  Fixture f(1 << 20);
  f.put_all();
  const CacheChanges c = f.file->take_changes();
  CHECK(c.maps.size() == 1);
  CHECK(c.crcs.size() == 1);
  CHECK(c.valid_bytes == 1 << 20);
  CHECK(f.file->take_changes().maps.empty());
  f.file->put_back_changes(c);
  const CacheChanges again = f.file->take_changes();
  CHECK(again.maps == c.maps);
  CHECK(again.crcs.size() == 1);
}

TEST_CASE("A file that was shortened behind our back loses the pages it lost") {
  Fixture f(4 * kCrcBlock);
  f.put_all();
  f.remount();
  std::filesystem::resize_file(f.dir->file_path(kFid), kCrcBlock + 10);
  CHECK_FALSE(f.read(2 * kCrcBlock, kPage).ok());
  CHECK_FALSE(f.file->covers(kCrcBlock, kPage));
  CHECK(f.reads_right(0, kCrcBlock));
  REQUIRE(f.put(kCrcBlock, 3 * kCrcBlock).ok());
  CHECK(f.reads_right(0, 4 * kCrcBlock));
}

TEST_CASE("A file that is shortened while it is open does not read as zeros") {
  Fixture f(4 * kCrcBlock);
  f.put_all();
  CHECK(f.reads_right(0, 4 * kCrcBlock));
  std::filesystem::resize_file(f.dir->file_path(kFid), kCrcBlock);
  CHECK(f.read(2 * kCrcBlock, kPage).is(Code::kCorrupt));
  CHECK_FALSE(f.file->covers(2 * kCrcBlock, kPage));
}

TEST_CASE("A file that vanished is lost: not cached, not written, not made again") {
  Fixture f(kCrcBlock);
  f.put_all();
  f.remount();
  REQUIRE(f.dir->unlink_file(kFid).ok());
  CHECK(f.read(0, kPage).is(Code::kNotFound));
  CHECK(f.file->lost());
  CHECK(f.file->valid_bytes() == 0);
  CHECK(f.put(0, kCrcBlock).is(Code::kNotFound));
}

TEST_CASE("A file left by a crash before its record is taken over") {
  Fixture f(3 * kCrcBlock);
  std::ofstream(f.dir->file_path(kFid)) << "left over";
  REQUIRE(f.put(0, kCrcBlock).ok());
  CHECK(std::filesystem::file_size(f.dir->file_path(kFid)) == 3 * kCrcBlock);
  CHECK(f.reads_right(0, kCrcBlock));
}

// Forwards to a real folder and does something of the test's choice whenever a file is opened.
class HookedDir : public CacheDir {
 public:
  explicit HookedDir(CacheDir& dir) : dir_(dir) {}
  std::function<void()> on_open;

  const std::string& path() const override { return dir_.path(); }
  std::string store_path() const override { return dir_.store_path(); }
  std::string socket_path() const override { return dir_.socket_path(); }
  bool fresh() const override { return dir_.fresh(); }
  std::string file_path(uint64_t fid) const override { return dir_.file_path(fid); }
  Result<UniqueFd> create_file(uint64_t fid, int64_t size) override { return dir_.create_file(fid, size); }
  Result<UniqueFd> open_file(uint64_t fid, bool writable) override {
    if (const auto hook = std::exchange(on_open, nullptr)) hook();
    return dir_.open_file(fid, writable);
  }
  Status unlink_file(uint64_t fid) override { return dir_.unlink_file(fid); }
  Status each_file(const std::function<void(uint64_t)>& visit) override { return dir_.each_file(visit); }
  Status rebuild() override { return dir_.rebuild(); }
  Result<Space> space() const override { return dir_.space(); }
  void release_ballast() override { dir_.release_ballast(); }
  void restore_ballast() override { dir_.restore_ballast(); }
  Status sync() override { return dir_.sync(); }

 private:
  CacheDir& dir_;
};

TEST_CASE("A read that eviction overtakes is told so, it does not get the hole") {
  TempDir tmp;
  const auto real = open_dir(tmp.path());
  HookedDir dir(*real);
  FdCache fds(0);  // every access opens
  const auto data = random_bytes(kCrcBlock, 3);
  CacheFile file(dir, fds, kFid, kCrcBlock, true);
  REQUIRE(file.write(0, data).ok());
  std::vector<std::byte> out(kPage);
  REQUIRE(file.read(0, out).ok());  // verified: no checksum will tell
  fds.forget(kFid);
  bool overtaken = false;
  dir.on_open = [&] {  // between the read's look at the map and its pread
    overtaken = file.clear(0, kCrcBlock) == kCrcBlock && file.punch(0, kCrcBlock).ok();
  };
  CHECK(file.read(0, out).is(Code::kNotFound));
  CHECK(overtaken);
}

TEST_CASE("Writers, readers, evictors and the store at once: never a wrong byte") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  Fixture f(2 * kCrcBlock + 123);  // small: everybody meets everybody
  const int64_t size = static_cast<int64_t>(f.data.size());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, good{0}, punches{0};
  const auto spawn = [&](uint64_t n, auto body) {
    return std::thread([&, n, body] {
      std::mt19937_64 rng(seed + n);
      while (!stop) body(rng);
    });
  };
  const auto writer = [&](std::mt19937_64& rng) {
    const int64_t at = static_cast<int64_t>(rng() % static_cast<uint64_t>(size)) / kPage * kPage;
    const int64_t n = std::min<int64_t>(size - at, static_cast<int64_t>(rng() % 40 + 1) * kPage);
    if (!f.put(at, n).ok()) wrong++;
  };
  const auto reader = [&](std::mt19937_64& rng) {
    const int64_t at = static_cast<int64_t>(rng() % static_cast<uint64_t>(size));
    std::vector<std::byte> out(
        static_cast<size_t>(std::min<int64_t>(size - at, 1 + static_cast<int64_t>(rng() % 200000))));
    const auto n = f.file->read(at, out);
    if (n.ok() && (*n != out.size() || std::memcmp(out.data(), f.data.data() + at, out.size()) != 0)) wrong++;
    if (!n.ok() && !n.is(Code::kNotFound)) wrong++;
    if (n.ok()) good++;
  };
  const auto evictor = [&](std::mt19937_64& rng) {
    const int64_t at = static_cast<int64_t>(rng() % 3) * kCrcBlock;
    f.file->clear(at, kCrcBlock);
    f.file->take_changes();
    if (f.file->punch(at, kCrcBlock).ok()) punches++;
    std::this_thread::yield();
  };
  std::vector<std::thread> threads;
  threads.push_back(spawn(1, writer));
  threads.push_back(spawn(2, writer));
  threads.push_back(spawn(3, reader));
  threads.push_back(spawn(4, reader));
  threads.push_back(spawn(5, evictor));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((good < 300 || punches < 300) && wrong == 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  stop = true;
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(good >= 300);
  CHECK(punches >= 300);
}

}  // namespace
}  // namespace s3cache::cache
