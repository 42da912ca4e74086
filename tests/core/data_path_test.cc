#include <sys/stat.h>

#include <fstream>
#include <random>
#include <thread>

#include "core/core_fixture.h"
#include "s3/faulty_s3.h"

namespace s3cache::core {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Reads the whole file in order and checks every byte.
void read_through(CoreFixture& f, const std::shared_ptr<OpenFile>& file, int64_t size,
                  size_t step = 1 << 20) {
  for (int64_t at = 0; at < size; at += static_cast<int64_t>(step)) {
    auto bytes = f.read(file, at, step);
    REQUIRE(bytes.ok());
    REQUIRE(static_cast<int64_t>(bytes->size()) == std::min<int64_t>(static_cast<int64_t>(step), size - at));
    REQUIRE(CoreFixture::is_pattern(*bytes, at));
  }
}

std::vector<std::filesystem::path> data_files(CoreFixture& f) {
  std::vector<std::filesystem::path> out;
  for (const auto& e :
       std::filesystem::recursive_directory_iterator(std::filesystem::path(f.dir->path()) / "data"))
    if (e.is_regular_file()) out.push_back(e.path());
  return out;
}

bool wait_sealed(CoreFixture& f, const std::string& name) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < until) {
    auto file = f.open(name);
    if (file.ok() && (*file)->sealed()) return true;
    std::this_thread::yield();
  }
  return false;
}

}  // namespace

TEST_CASE("a small file is one GET from lookup to its sealed cache file") {
  CoreFixture f;
  f.put_pattern("a.jpg", 100'000);
  auto file = f.open("a.jpg");
  REQUIRE(file.ok());
  CHECK((*file)->sealed());
  CHECK(f.s3->count(s3::Verb::kGet) == 1);
  CHECK(f.s3->count(s3::Verb::kHead) == 0);
  read_through(f, *file, 100'000);
  CHECK(f.s3->count(s3::Verb::kGet) == 1);
  auto fd = (*file)->backing_fd();
  REQUIRE(fd.ok());
  struct stat st {};
  CHECK(fstat(*fd, &st) == 0);
  CHECK(st.st_size == 100'000);
  close(*fd);
}

TEST_CASE("a large file read in order is fetched once, sealed, and free after a remount") {
  CoreFixture f;
  const int64_t size = 40 * kMiB + 12'345;
  f.put_pattern("big", size);
  {
    auto file = f.open("big");
    REQUIRE(file.ok());
    CHECK_FALSE((*file)->sealed());
    read_through(f, *file, size);
    CHECK(f.s3->bytes_requested() == size);
  }
  REQUIRE(wait_sealed(f, "big"));
  f.remount();
  auto file = f.open("big");
  REQUIRE(file.ok());
  CHECK((*file)->sealed());
  read_through(f, *file, size);
  CHECK(f.s3->requests().empty());
}

TEST_CASE("pages of a partial file survive a remount and are not fetched again") {
  CoreFixture f;
  f.put_pattern("big", 64 * kMiB);
  {
    auto file = f.open("big");
    REQUIRE(file.ok());
    for (int64_t at : {5 * kMiB, 33 * kMiB, 63 * kMiB}) {
      auto bytes = f.read(*file, at, 200'000);
      REQUIRE(bytes.ok());
      CHECK(CoreFixture::is_pattern(*bytes, at));
    }
    REQUIRE(f.s3->wait_idle());
  }
  f.remount();
  auto file = f.open("big");
  REQUIRE(file.ok());
  for (int64_t at : {5 * kMiB, 33 * kMiB, 63 * kMiB}) {
    auto bytes = f.read(*file, at, 200'000);
    REQUIRE(bytes.ok());
    CHECK(CoreFixture::is_pattern(*bytes, at));
  }
  CHECK(f.s3->count(s3::Verb::kGet) == 0);
  // The rest comes from the server, the cached runs do not.
  read_through(f, *file, 64 * kMiB);
  CHECK(f.s3->bytes_requested() <= 64 * kMiB - 600'000);
}

TEST_CASE("two readers of the same missing pages share one GET") {
  CoreFixture f;
  f.put_pattern("big", 64 * kMiB);
  auto file = f.open("big");
  REQUIRE(file.ok());
  f.s3->clear_requests();
  f.s3->set_manual(true);
  std::promise<bool> one, two;
  const auto reader = [](std::promise<bool>& p) {
    return [&p](Result<ReadReply> r) {
      p.set_value(r.ok() && CoreFixture::is_pattern(
                                {static_cast<const char*>((*r)[0].iov_base), (*r)[0].iov_len}, 20 * kMiB));
    };
  };
  f.fs->read(*file, 20 * kMiB, 65'536, reader(one));
  f.fs->read(*file, 20 * kMiB, 65'536, reader(two));
  CHECK(f.s3->count(s3::Verb::kGet) == 1);
  f.s3->set_manual(false);
  CHECK(one.get_future().get());
  CHECK(two.get_future().get());
  CHECK(f.s3->count(s3::Verb::kGet) == 1);
}

TEST_CASE("bytes are handed out as they arrive, before the GET is complete") {
  CoreFixture f;
  f.put_pattern("big", 64 * kMiB);
  auto file = f.open("big");
  REQUIRE(file.ok());
  f.s3->set_manual(true);
  std::promise<bool> early;
  f.fs->read(*file, 0, 65'536, [&](Result<ReadReply> r) { early.set_value(r.ok()); });
  REQUIRE(f.s3->wait_pending(1));
  const auto pending = f.s3->pending();
  const auto get =
      std::find_if(pending.begin(), pending.end(), [](const auto& r) { return r.verb == s3::Verb::kGet; });
  REQUIRE(get != pending.end());
  f.s3->release_data(get->id, 65'536);
  auto future = early.get_future();
  REQUIRE(future.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  CHECK(future.get());
  CHECK(f.s3->pending().size() >= 1);
  f.s3->set_manual(false);
}

TEST_CASE("an object replaced under an open handle gives old bytes or an error, never a mix") {
  CoreFixture f;
  f.put("big", std::string(8 * kMiB, 'o'));
  auto old = f.open("big");
  REQUIRE(old.ok());
  REQUIRE(f.read(*old, 2 * kMiB, 4096).ok());
  f.put("big", std::string(8 * kMiB, 'n'));
  auto cached = f.read(*old, 2 * kMiB, 4096);
  REQUIRE(cached.ok());
  CHECK(*cached == std::string(4096, 'o'));
  auto missing = f.read(*old, 6 * kMiB, 4096);
  CHECK(missing.is(Code::kStale));
  auto fresh = f.open("big", true);
  REQUIRE(fresh.ok());
  CHECK((*fresh)->version() != (*old)->version());
  CHECK((*fresh)->ino() == (*old)->ino());
  auto bytes = f.read(*fresh, 6 * kMiB, 4096);
  REQUIRE(bytes.ok());
  CHECK(*bytes == std::string(4096, 'n'));
  CHECK(*f.read(*old, 2 * kMiB, 4096) == std::string(4096, 'o'));
}

TEST_CASE("a damaged block of the cache is fetched again and the reader gets the right bytes") {
  auto options = CoreFixture::defaults();
  options.names.small_file = 0;
  CoreFixture f(options);
  f.put_pattern("big", 4 * kMiB);
  {
    auto file = f.open("big");
    REQUIRE(file.ok());
    REQUIRE(f.read(*file, 2 * kMiB, 256 << 10).ok());
    REQUIRE(f.s3->wait_idle());
  }
  f.unmount();
  auto reopened = cache::CacheDir::open({f.root.string(), "http://fake\nbucket\n", "bucket", 0, true});
  REQUIRE(reopened.ok());
  f.dir = std::move(*reopened);
  const auto files = data_files(f);
  REQUIRE(files.size() == 1);
  std::fstream damage(files[0], std::ios::in | std::ios::out | std::ios::binary);
  damage.seekp(2 * kMiB + 70'000);
  damage.write("damage", 6);
  damage.close();
  f.dir.reset();
  f.remount();
  auto file = f.open("big");
  REQUIRE(file.ok());
  auto bytes = f.read(*file, 2 * kMiB, 256 << 10);
  REQUIRE(bytes.ok());
  CHECK(CoreFixture::is_pattern(*bytes, 2 * kMiB));
  CHECK(f.s3->count(s3::Verb::kGet) >= 1);
}

TEST_CASE("a cache file that is gone or has another size is fetched again") {
  CoreFixture f;
  f.put_pattern("a", 50'000);
  f.put_pattern("b", 50'000);
  REQUIRE(f.open("a").ok());
  REQUIRE(f.open("b").ok());
  const auto files = data_files(f);
  REQUIRE(files.size() == 2);
  f.unmount();
  std::filesystem::remove(files[0]);
  std::filesystem::resize_file(files[1], 60'000);
  f.remount();
  for (const char* name : {"a", "b"}) {
    auto file = f.open(name);
    REQUIRE(file.ok());
    CHECK((*file)->sealed());
    read_through(f, *file, 50'000);
  }
  CHECK(f.s3->count(s3::Verb::kGet) == 2);
}

TEST_CASE("the cache never holds more than its limit and reads go on past it") {
  auto options = CoreFixture::defaults();
  options.budget.limit = 8 * kMiB;
  CoreFixture f(options);
  SECTION("many small files, twice the cache") {
    for (int i = 0; i < 160; ++i) f.put_pattern("f" + std::to_string(i), 100'000);
    for (int epoch = 0; epoch < 2; ++epoch)
      for (int i = 0; i < 160; ++i) {
        auto file = f.open("f" + std::to_string(i));
        REQUIRE(file.ok());
        read_through(f, *file, 100'000);
        REQUIRE(f.disk_bytes() <= 8 * kMiB);
      }
  }
  SECTION("one file four times the cache") {
    f.put_pattern("big", 32 * kMiB);
    auto file = f.open("big");
    REQUIRE(file.ok());
    read_through(f, *file, 32 * kMiB);
    CHECK(f.disk_bytes() <= 8 * kMiB);
    CHECK_FALSE((*file)->sealed());
  }
}

TEST_CASE("64 readers share a small memory budget to the end") {
  auto options = CoreFixture::defaults();
  options.mem_limit = 16 * kMiB;
  CoreFixture f(options);
  constexpr int kReaders = 64;
  constexpr int64_t kSize = 3 * kMiB;
  for (int i = 0; i < kReaders; ++i) f.put_pattern("f" + std::to_string(i), kSize);
  std::vector<std::shared_ptr<OpenFile>> files;
  for (int i = 0; i < kReaders; ++i) {
    auto file = f.open("f" + std::to_string(i));
    REQUIRE(file.ok());
    files.push_back(*file);
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kReaders; ++i)
    threads.emplace_back([&, i] {
      for (int64_t at = 0; at < kSize; at += 128 << 10) {
        std::promise<bool> p;
        f.fs->read(files[static_cast<size_t>(i)], at, 128 << 10, [&](Result<ReadReply> r) {
          p.set_value(
              r.ok() && !r->empty() &&
              CoreFixture::is_pattern({static_cast<const char*>((*r)[0].iov_base), (*r)[0].iov_len}, at));
        });
        if (!p.get_future().get()) ++wrong;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("random reads by many threads under faults are right or fail, and the cache holds no wrong byte") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  CoreFixture f;
  f.put_pattern("big", 24 * kMiB);
  f.unmount();
  f.fresh_server();
  std::atomic<uint64_t> calls{0};
  s3::FaultyS3 faulty(*f.s3, [&](const s3::RequestInfo& info) {
    s3::Fault fault;
    if (info.verb != s3::Verb::kGet || ++calls % 3 != 0) return fault;
    fault.kind = calls % 2 ? s3::Fault::Kind::kError : s3::Fault::Kind::kShortBody;
    fault.bytes = 50'000;
    return fault;
  });
  f.client = &faulty;
  f.mount();
  auto file = f.open("big");
  REQUIRE(file.ok());
  std::atomic<int> wrong{0}, good{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(seed + t);
      for (int i = 0; i < 150; ++i) {
        const auto at = static_cast<int64_t>(rng() % (23 * kMiB));
        const size_t length = 1 + rng() % 300'000;
        std::promise<int> p;
        f.fs->read(*file, at, length, [&](Result<ReadReply> r) {
          if (!r.ok()) return p.set_value(0);
          std::string bytes;
          for (const iovec& io : *r) bytes.append(static_cast<const char*>(io.iov_base), io.iov_len);
          p.set_value(bytes.size() == length && CoreFixture::is_pattern(bytes, at) ? 1 : -1);
        });
        const int result = p.get_future().get();
        if (result < 0) ++wrong;
        if (result > 0) ++good;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(good > 0);
  file = Error{Code::kNotFound, ""};
  f.unmount();
  f.client = nullptr;
  f.remount();
  auto again = f.open("big");
  REQUIRE(again.ok());
  read_through(f, *again, 24 * kMiB);
}

}  // namespace s3cache::core
