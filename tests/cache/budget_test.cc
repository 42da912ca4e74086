#include "cache/budget.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

namespace s3cache::cache {
namespace {

// A folder on a disk of any size; counts how often it is asked.
class FakeDir : public CacheDir {
 public:
  mutable std::atomic<int> asked{0};
  std::atomic<int64_t> free{0};
  bool broken = false;

  const std::string& path() const override { return path_; }
  std::string store_path() const override { return path_; }
  std::string socket_path() const override { return path_; }
  bool fresh() const override { return true; }
  std::string file_path(uint64_t) const override { return path_; }
  Result<UniqueFd> create_file(uint64_t, int64_t) override { return Error{Code::kIo, "fake"}; }
  Result<UniqueFd> open_file(uint64_t, bool) override { return Error{Code::kIo, "fake"}; }
  Status unlink_file(uint64_t) override { return {}; }
  Status each_file(const std::function<void(uint64_t)>&) override { return {}; }
  Status rebuild() override { return {}; }
  Result<Space> space() const override {
    asked++;
    if (broken) return Error{Code::kIo, "fake"};
    return Space{free, 1 << 30};
  }
  void release_ballast() override {}
  void restore_ballast() override {}
  Status sync() override { return {}; }

 private:
  std::string path_ = "/fake";
};

TEST_CASE("How far the cache can come: its limit, or less where the disk leaves less") {
  FakeDir dir;
  FakeClock clock;
  dir.free = 700;
  Budget no_floor(dir, clock, {.limit = 1000, .min_free = 0});
  CHECK(no_floor.reach() == 1000);
  CHECK(Budget(dir, clock, {.limit = 0, .min_free = 0}).reach() == INT64_MAX);
  Budget budget(dir, clock, {.limit = 1000, .min_free = 100});
  CHECK(budget.reach() == 600);
  CHECK(budget.reserve(200));
  CHECK(budget.reach() == 600);
  budget.commit(200);
  CHECK(budget.reach() == 600);
  dir.free = 50;  // others took the rest, and of the floor
  clock.advance_ms(200);
  CHECK(budget.reach() == 200);
  dir.free = 5000;
  clock.advance_ms(200);
  CHECK(budget.reach() == 1000);
}

TEST_CASE("The limit counts what is used and what is reserved") {
  FakeDir dir;
  FakeClock clock;
  Budget budget(dir, clock, {.limit = 1000, .min_free = 0});
  CHECK(budget.reserve(600));
  CHECK_FALSE(budget.reserve(401));
  CHECK(budget.shortfall(401) == 1);
  CHECK(budget.reserve(400));
  budget.commit(600);
  CHECK(budget.used() == 600);
  CHECK_FALSE(budget.reserve(1));
  budget.release(400);
  CHECK(budget.reserve(400));
  budget.freed(100);
  CHECK(budget.used() == 500);
  CHECK(budget.shortfall(100) == 0);
  budget.add_used(5000);  // an old cache under a smaller limit
  CHECK(budget.shortfall(0) == 4900);
  CHECK_FALSE(budget.reserve(0));
  CHECK(dir.asked == 0);  // without a floor nobody asks the file system
}

TEST_CASE("The floor is kept between two answers of the file system") {
  FakeDir dir;
  FakeClock clock;
  dir.free = 1000;
  Budget budget(dir, clock, {.limit = 0, .min_free = 300});
  CHECK(budget.reserve(500));
  CHECK_FALSE(budget.reserve(201));
  CHECK(budget.shortfall(201) == 1);
  budget.commit(500);
  CHECK(budget.reserve(200));
  CHECK(dir.asked == 1);
  budget.release(200);
  budget.freed(500);
  CHECK(budget.reserve(700));
  budget.release(700);
  dir.free = 100;  // somebody else fills the disk
  clock.advance_ms(99);
  CHECK(budget.shortfall(0) == 0);
  clock.advance_ms(1);
  CHECK(budget.shortfall(0) == 200);
  CHECK(dir.asked == 2);
}

TEST_CASE("A file system that does not answer is no floor") {
  FakeDir dir;
  FakeClock clock;
  dir.broken = true;
  Budget budget(dir, clock, {.limit = 100, .min_free = 300});
  CHECK(budget.reserve(100));
  CHECK_FALSE(budget.reserve(1));
}

TEST_CASE("The limit holds under threads") {
  FakeDir dir;
  FakeClock clock;
  dir.free = 1 << 30;
  Budget budget(dir, clock, {.limit = 1000, .min_free = 1});
  std::atomic<int64_t> held{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; i++) {
        if (!budget.reserve(300)) continue;
        if (held.fetch_add(300) + 300 > 1000) over = true;
        clock.advance_ms(1);
        held.fetch_sub(300);
        if (i % 2 == 0) {
          budget.release(300);
        } else {
          budget.commit(300);
          budget.freed(300);
        }
      }
    });
  for (auto& t : threads) t.join();
  CHECK_FALSE(over);
  CHECK(budget.used() == 0);
  CHECK(budget.shortfall(1000) == 0);
}

}  // namespace
}  // namespace s3cache::cache
