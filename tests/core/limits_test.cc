// Small memory, few descriptors, a nearly full cache at the start.
#include <sys/resource.h>
#include <unistd.h>

#include "core/cache_space.h"
#include "core_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using meta::Table;

TEST_CASE("A small mem_limit still reads ahead, in parts that fit") {
  auto options = CoreFixture::defaults();
  options.mem_limit = 16 << 20;
  CoreFixture f(options);
  f.put_pattern("big", 96 << 20);
  const auto file = f.open("big");
  REQUIRE(file.ok());
  for (int64_t at = 0; at < 96 << 20; at += 1 << 20)
    REQUIRE(CoreFixture::is_pattern(*f.read(*file, at, 1 << 20), at));
  int64_t ahead = 0, largest = 0;
  for (const auto& r : f.s3->requests()) {
    if (r.verb != s3::Verb::kGet) continue;
    largest = std::max(largest, r.length);
    if (r.priority == s3::Priority::kBackground) ahead += r.length;
  }
  CHECK(largest <= 4 << 20);
  CHECK(ahead > 48 << 20);
}

TEST_CASE("Without a free descriptor a partial cache file is read from the server") {
  auto options = CoreFixture::defaults();
  options.cache_fds = 1;
  CoreFixture f(options);
  f.put_pattern("partial", 64 << 20);
  f.put_pattern("other", 100'000);
  const auto file = f.open("partial");
  REQUIRE(file.ok());
  REQUIRE(f.read(*file, 40 << 20, 8192).ok());
  REQUIRE(f.s3->wait_idle());
  REQUIRE(f.open("other").ok());  // takes the one descriptor
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int next = ::dup(0);
  REQUIRE(next >= 0);
  ::close(next);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto bytes = f.read(*file, 40 << 20, 8192);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(bytes.ok());
  CHECK(CoreFixture::is_pattern(*bytes, 40 << 20));
}

TEST_CASE("What a cache holds counts from the first moment of a mount") {
  CoreFixture f;
  constexpr int kFiles = 5'000;
  constexpr int64_t kEach = 1 << 20;
  meta::Batch batch;
  for (int i = 0; i < kFiles; i++) {
    const uint64_t ino = *f.store->next_id(), fid = *f.store->next_id();
    meta::Inode inode;
    inode.fid = fid;
    inode.name = "f" + std::to_string(i);
    meta::File file;
    file.ino = ino;
    file.state = meta::FileState::kSealed;
    file.size = file.valid_bytes = kEach;
    batch.put(Table::kInode, meta::id_key(ino), inode.encode());
    batch.put(Table::kFile, meta::id_key(fid), file.encode());
  }
  REQUIRE(f.store->apply_durable(std::move(batch)).ok());
  cache::FdCache fds(4);
  cache::Budget budget(*f.dir, f.clock, {kFiles * kEach + (100 << 20), 0});
  CacheSpace space(*f.store, *f.dir, fds, budget, 0);
  space.start_restore(*f.store->next_id());
  CHECK_FALSE(space.reserve(7, 200 << 20, false));
  CHECK(budget.used() >= kFiles * kEach);
  while (!space.restored()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(space.data_bytes() == kFiles * kEach);
}
