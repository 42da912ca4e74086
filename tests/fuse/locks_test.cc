#include "fuse/locks.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <random>
#include <thread>

using namespace s3cache::fuse;

namespace {

constexpr auto kPosix = LockSpace::kPosix;
constexpr auto kFlock = LockSpace::kFlock;
constexpr uint64_t kIno = 7;

Lock make(uint64_t owner, LockType type, uint64_t first = 0, uint64_t last = UINT64_MAX, uint64_t fh = 1) {
  Lock l;
  l.owner = owner;
  l.first = first;
  l.last = last;
  l.type = type;
  l.pid = static_cast<uint32_t>(owner);
  l.fh = fh;
  return l;
}
Lock rd(uint64_t owner, uint64_t first = 0, uint64_t last = UINT64_MAX) {
  return make(owner, LockType::kRead, first, last);
}
Lock wr(uint64_t owner, uint64_t first = 0, uint64_t last = UINT64_MAX) {
  return make(owner, LockType::kWrite, first, last);
}
Lock un(uint64_t owner, uint64_t first = 0, uint64_t last = UINT64_MAX) {
  return make(owner, LockType::kUnlock, first, last);
}

// One waiting request: what it was told, and whether it is still wanted.
struct Asker {
  int told = -2;
  bool wanted = true;
  Locks::Waiter waiter() {
    return {[this] { return wanted; }, [this](int err) { told = err; }};
  }
};

// The bytes 0..9 as others see them: '.', 'r' or 'w' by what a probe of each byte meets.
std::string picture(Locks& locks, uint64_t ino = kIno) {
  std::string out;
  for (uint64_t b = 0; b < 10; ++b) {
    const Lock l = locks.test(kPosix, ino, wr(999, b, b));
    out += l.type == LockType::kUnlock ? '.' : l.type == LockType::kRead ? 'r' : 'w';
  }
  return out;
}

}  // namespace

TEST_CASE("readers share, a writer is alone, and GETLK says who is in the way", "[locks]") {
  Locks t;
  CHECK(t.set(kPosix, kIno, rd(1)) == 0);
  CHECK(t.set(kPosix, kIno, rd(2)) == 0);
  CHECK(t.set(kPosix, kIno, wr(3)) == EAGAIN);
  CHECK(t.test(kPosix, kIno, wr(3, 5, 6)).type == LockType::kRead);
  CHECK(t.test(kPosix, kIno, rd(3)).type == LockType::kUnlock);
  CHECK(t.set(kPosix, kIno, un(1)) == 0);
  CHECK(t.test(kPosix, kIno, wr(3)).pid == 2);
  CHECK(t.set(kPosix, kIno, wr(2)) == 0);  // alone: upgrades in place
  CHECK(t.set(kPosix, kIno, rd(1)) == EAGAIN);
  CHECK(t.set(kPosix, kIno + 1, wr(1)) == 0);  // another file
  CHECK(t.set(kFlock, kIno, wr(1)) == 0);      // another kind of lock
  t.release_owner(kPosix, kIno, 2);
  t.release_owner(kPosix, kIno + 1, 1);
  t.release_owner(kFlock, kIno, 1);
  CHECK(t.empty());
}

TEST_CASE("an owner's ranges split, join and change their kind", "[locks]") {
  Locks t;
  auto set = [&](const Lock& l) {
    CHECK(t.set(kPosix, kIno, l) == 0);
    return picture(t);
  };
  CHECK(set(wr(1, 2, 7)) == "..wwwwww..");
  CHECK(set(un(1, 4, 5)) == "..ww..ww..");
  CHECK(set(rd(1, 3, 6)) == "..wrrrrw..");
  CHECK(set(wr(1, 0, 9)) == "wwwwwwwwww");
  CHECK(set(un(1, 0, 0)) == ".wwwwwwwww");
  CHECK(set(un(1, 5, UINT64_MAX)) == ".wwww.....");
  CHECK(set(wr(1, 5, 6)) == ".wwwwww...");
  // Joined: one lock, seen whole by who asks.
  const Lock seen = t.test(kPosix, kIno, wr(2));
  CHECK(seen.first == 1);
  CHECK(seen.last == 6);
  CHECK(set(rd(1, 0, 0)) == "rwwwwww...");
  CHECK(set(un(1)) == "..........");
  CHECK(t.empty());
}

TEST_CASE("random ranges of three owners, against a table of bytes", "[locks]") {
  Locks t;
  std::mt19937 rng(11);
  constexpr uint64_t kBytes = 12;
  LockType model[4][kBytes];
  for (auto& row : model) std::fill(std::begin(row), std::end(row), LockType::kUnlock);
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t owner = 1 + rng() % 3;
    uint64_t a = rng() % kBytes, b = rng() % kBytes;
    if (a > b) std::swap(a, b);
    const auto type = static_cast<LockType>(rng() % 3);
    bool free = true;
    for (uint64_t o = 1; o <= 3; ++o) {
      for (uint64_t i = a; i <= b && o != owner && type != LockType::kUnlock; ++i) {
        const LockType there = model[o][i];
        free &= there == LockType::kUnlock || (there == LockType::kRead && type == LockType::kRead);
      }
    }
    REQUIRE(t.set(kPosix, kIno, make(owner, type, a, b)) == (free ? 0 : EAGAIN));
    for (uint64_t i = a; i <= b && free; ++i) model[owner][i] = type;
    const uint64_t byte = rng() % kBytes;
    bool any = false;
    for (uint64_t o = 1; o <= 3; ++o) any |= model[o][byte] != LockType::kUnlock;
    REQUIRE((t.test(kPosix, kIno, wr(9, byte, byte)).type != LockType::kUnlock) == any);
  }
}

TEST_CASE("who waits is answered when there is room, in order, as far as it fits", "[locks]") {
  Locks t;
  REQUIRE(t.set(kPosix, kIno, wr(1)) == 0);
  Asker reader, writer, reader2, apart;
  CHECK(t.wait(kPosix, kIno, rd(2, 0, 9), reader.waiter()) != 0);
  CHECK(t.wait(kPosix, kIno, wr(3, 0, 9), writer.waiter()) != 0);
  CHECK(t.wait(kPosix, kIno, rd(4, 0, 9), reader2.waiter()) != 0);
  CHECK(t.wait(kPosix, kIno, wr(5, 20, 29), apart.waiter()) != 0);
  CHECK(t.set(kPosix, kIno, un(1, 20, 29)) == 0);
  CHECK(apart.told == 0);
  CHECK(reader.told == -2);
  CHECK(t.set(kPosix, kIno, rd(1)) == EAGAIN);   // 5 has a part
  CHECK(t.set(kPosix, kIno, rd(1, 0, 9)) == 0);  // weaker than before: readers fit beside it
  CHECK(reader.told == 0);
  CHECK(reader2.told == 0);
  CHECK(writer.told == -2);
  for (uint64_t owner : {1, 2, 4}) t.release_owner(kPosix, kIno, owner);
  CHECK(writer.told == 0);
  Asker now;
  CHECK(t.wait(kPosix, kIno, rd(6, 50, 51), now.waiter()) == 0);
  CHECK(now.told == 0);
}

TEST_CASE("a waiter whose new lock is weaker than its old one makes room for those before it", "[locks]") {
  Locks t;
  REQUIRE(t.set(kPosix, kIno, wr(1, 5, 5)) == 0);
  REQUIRE(t.set(kPosix, kIno, wr(2, 0, 0)) == 0);
  Asker first, second;
  CHECK(t.wait(kPosix, kIno, rd(3, 0, 0), first.waiter()) != 0);
  CHECK(t.wait(kPosix, kIno, rd(2, 0, 9), second.waiter()) != 0);
  CHECK(t.set(kPosix, kIno, un(1)) == 0);
  CHECK(second.told == 0);
  CHECK(first.told == 0);
}

TEST_CASE("who gave up waiting gets nothing, and stands in nobody's way", "[locks]") {
  Locks t;
  REQUIRE(t.set(kFlock, kIno, wr(1)) == 0);
  Asker gone, cancelled, next;
  CHECK(t.wait(kFlock, kIno, wr(2), gone.waiter()) != 0);
  const uint64_t ticket = t.wait(kFlock, kIno, wr(3), cancelled.waiter());
  CHECK(t.wait(kFlock, kIno, wr(4), next.waiter()) != 0);
  gone.wanted = false;
  t.cancel(kIno, ticket);
  t.release_owner(kFlock, kIno, 1);
  CHECK(gone.told == -2);
  CHECK(cancelled.told == -2);
  CHECK(next.told == 0);
  CHECK(t.set(kFlock, kIno, rd(5)) == EAGAIN);
  t.release_owner(kFlock, kIno, 4);
  CHECK(t.empty());
}

TEST_CASE("a wait in a circle is EDEADLK, over several files too", "[locks]") {
  Locks t;
  Asker a, b, c, d;
  REQUIRE(t.set(kPosix, 1, wr(1)) == 0);
  REQUIRE(t.set(kPosix, 2, wr(2)) == 0);
  REQUIRE(t.set(kPosix, 3, wr(3)) == 0);
  CHECK(t.wait(kPosix, 2, wr(1), a.waiter()) != 0);
  CHECK(t.wait(kPosix, 3, wr(2), b.waiter()) != 0);
  CHECK(t.wait(kPosix, 1, wr(3), c.waiter()) == 0);
  CHECK(c.told == EDEADLK);
  t.release_owner(kPosix, 3, 3);
  CHECK(b.told == 0);
  CHECK(t.wait(kPosix, 1, rd(4), d.waiter()) != 0);  // a long queue is no circle
  // Two readers that both want to write.
  Asker e, f;
  REQUIRE(t.set(kPosix, 9, rd(1)) == 0);
  REQUIRE(t.set(kPosix, 9, rd(7)) == 0);
  CHECK(t.wait(kPosix, 9, wr(7), e.waiter()) != 0);
  CHECK(t.wait(kPosix, 9, wr(1), f.waiter()) == 0);
  CHECK(f.told == EDEADLK);
}

TEST_CASE("two holders of a shared flock may both turn it into an exclusive one", "[locks]") {
  Locks t;
  Asker a, b;
  REQUIRE(t.set(kFlock, kIno, rd(1)) == 0);
  REQUIRE(t.set(kFlock, kIno, rd(2)) == 0);
  CHECK(t.set(kFlock, kIno, wr(1)) == EAGAIN);
  CHECK(t.wait(kFlock, kIno, wr(1), a.waiter()) != 0);  // gives the shared one up
  CHECK(t.wait(kFlock, kIno, wr(2), b.waiter()) == 0);
  CHECK(b.told == 0);
  CHECK(a.told == -2);
  t.release_owner(kFlock, kIno, 2);
  CHECK(a.told == 0);
}

TEST_CASE("a released handle takes along the fcntl locks of who locked through it", "[locks]") {
  Locks t;
  REQUIRE(t.set(kPosix, kIno, make(1, LockType::kRead, 0, 4, 100)) == 0);
  REQUIRE(t.set(kPosix, kIno, make(1, LockType::kRead, 5, 9, 200)) == 0);
  REQUIRE(t.set(kPosix, kIno, make(2, LockType::kRead, 0, 9, 300)) == 0);
  t.release_handle(kIno, 400);
  CHECK(picture(t) == "rrrrrrrrrr");
  t.release_handle(kIno, 100);
  CHECK(t.test(kPosix, kIno, wr(3)).pid == 2);
  CHECK(t.set(kPosix, kIno, make(2, LockType::kWrite, 0, UINT64_MAX, 300)) == 0);  // nothing of 1 is left
  t.release_handle(kIno, 300);
  CHECK(t.empty());
}

TEST_CASE("threads that wait for one lock hold it one at a time", "[locks]") {
  Locks t;
  std::atomic<int> inside{0}, worst{0}, rounds{0};
  std::vector<std::thread> threads;
  for (uint64_t owner = 1; owner <= 4; ++owner) {
    threads.emplace_back([&, owner] {
      for (int i = 0; i < 500; ++i) {
        std::atomic<int> told{-2};
        t.wait(kFlock, kIno, wr(owner),
               {[] { return true; },
                [&](int err) {
                  told = err;
                  told.notify_one();
                }});
        told.wait(-2);
        const int now = ++inside;
        if (now > worst) worst = now;
        ++rounds;
        --inside;
        t.release_owner(kFlock, kIno, owner);
      }
    });
  }
  for (auto& th : threads) th.join();
  CHECK(worst == 1);
  CHECK(rounds == 2000);
  CHECK(t.empty());
}
