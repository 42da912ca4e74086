#include "cache/fd_cache.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

namespace s3cache::cache {
namespace {

Result<UniqueFd> open_null() {
  UniqueFd fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open /dev/null");
  return fd;
}

TEST_CASE("FdCache keeps the newest descriptors and counts opens") {
  int opens = 0;
  const auto open = [&] {
    opens++;
    return open_null();
  };
  FdCache fds(2);
  for (uint64_t fid : {1, 2, 1, 3}) REQUIRE(fds.acquire(fid, open).ok());
  CHECK(opens == 3);
  CHECK(fds.idle() == 2);
  REQUIRE(fds.acquire(1, open).ok());  // kept: used after 2
  CHECK(opens == 3);
  REQUIRE(fds.acquire(2, open).ok());
  CHECK(opens == 4);
  fds.set_limit(0);
  CHECK(fds.idle() == 0);
}

TEST_CASE("FdCache never closes a descriptor in use") {
  FdCache fds(1);
  const auto a = fds.acquire(1, open_null);
  const auto b = fds.acquire(2, open_null);
  const auto c = fds.acquire(3, open_null);
  for (const auto* held : {&a, &b, &c}) CHECK(::fcntl((**held)->get(), F_GETFD) >= 0);
  CHECK(fds.idle() == 0);
  const auto again = fds.acquire(1, [] { return Result<UniqueFd>(Error{Code::kIo, "opened twice"}); });
  REQUIRE(again.ok());
  CHECK((*again)->get() == (*a)->get());
}

TEST_CASE("A forgotten descriptor closes with its last holder") {
  FdCache fds(4);
  int raw = -1;
  {
    const auto held = fds.acquire(1, open_null);
    raw = (*held)->get();
    fds.forget(1);
    CHECK(::fcntl(raw, F_GETFD) >= 0);
  }
  CHECK(::fcntl(raw, F_GETFD) < 0);
}

TEST_CASE("An open that a forget overtakes is not kept") {
  FdCache fds(4);
  const auto fd = fds.acquire(1, [&] {
    fds.forget(1);  // the file is unlinked and replaced while it is being opened
    return open_null();
  });
  REQUIRE(fd.ok());
  CHECK(fds.idle() == 0);
  int opens = 0;
  REQUIRE(fds.acquire(1,
                      [&] {
                        opens++;
                        return open_null();
                      })
              .ok());
  CHECK(opens == 1);
}

TEST_CASE("EMFILE gives idle descriptors back and tries once more") {
  FdCache fds(100);
  for (uint64_t fid = 1; fid <= 10; fid++) REQUIRE(fds.acquire(fid, open_null).ok());
  rlimit old;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &old) == 0);
  UniqueFd probe(::open("/dev/null", O_RDONLY));
  const rlimit tight{static_cast<rlim_t>(probe.get()), old.rlim_max};
  probe.reset();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
  const bool fails_plainly = !open_null().ok();
  const auto fd = fds.acquire(11, open_null);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &old) == 0);
  CHECK(fails_plainly);
  REQUIRE(fd.ok());
  CHECK(fds.idle() == 0);
}

TEST_CASE("FdCache is safe under threads") {
  FdCache fds(3);
  std::vector<std::thread> threads;
  std::atomic<int> bad{0};
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 500; i++) {
        const uint64_t fid = (i * 7 + static_cast<uint64_t>(t)) % 8;
        const auto fd = fds.acquire(fid, open_null);
        if (!fd.ok() || ::fcntl((*fd)->get(), F_GETFD) < 0) bad++;
        if (i % 17 == 0) fds.forget(fid);
      }
    });
  for (auto& t : threads) t.join();
  CHECK(bad == 0);
  CHECK(fds.idle() <= 8);
}

}  // namespace
}  // namespace s3cache::cache
