#include "cache/eviction_policy.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <random>
#include <thread>

#include "bench/cache_sim_policies.h"
#include "cache/ghost_table.h"

namespace s3cache::cache {
namespace {

constexpr size_t kFiles = 4000;
constexpr int64_t kBytes = 100;
using Rng = std::mt19937_64;

// Byte hit ratio of one pass over n files from `base`, in random order or in order. Sizes differ by a factor
// of 7.
double pass(bench::Policy& policy, Rng& rng, uint64_t base, bool shuffled) {
  std::vector<uint64_t> keys(kFiles);
  std::iota(keys.begin(), keys.end(), base);
  if (shuffled) std::shuffle(keys.begin(), keys.end(), rng);
  int64_t hits = 0, all = 0;
  for (uint64_t key : keys) {
    const int64_t bytes = 25 + static_cast<int64_t>(key * 2654435761 % 151);
    hits += policy.access({key, bytes}) ? bytes : 0;
    all += bytes;
  }
  return static_cast<double>(hits) / static_cast<double>(all);
}

TEST_CASE("What may be evicted is counted, and one of it can be claimed by name") {
  EvictionPolicy policy(1000);
  policy.set_evictable(1, false);
  policy.inserted(1, 1, 100);
  policy.inserted(2, 2, 30);
  CHECK(policy.evictable_bytes() == 30);
  policy.grown(2, 2, 5);
  policy.set_evictable(1, true);
  CHECK(policy.evictable_bytes() == 135);
  policy.accessed(1, 1, 100);
  CHECK(policy.evictable_bytes() == 135);
  CHECK(policy.claim(1));
  CHECK_FALSE(policy.claim(1));
  CHECK_FALSE(policy.claim(7));
  CHECK(policy.evictable_bytes() == 35);
  policy.removed(1);
  policy.set_evictable(2, false);
  CHECK(policy.evictable_bytes() == 0);
  CHECK_FALSE(policy.claim(2));
}

TEST_CASE("Random epochs over twice the cache, then a second data set") {
  for (const uint64_t seed : {1, 2, 3}) {
    CAPTURE(seed);
    Rng rng(seed);
    bench::Ours policy(kFiles * kBytes / 2);
    CHECK(pass(policy, rng, 0, true) == 0);
    for (int epoch = 2; epoch <= 4; epoch++) CHECK(pass(policy, rng, 0, true) >= 0.45);
    CHECK(pass(policy, rng, 1'000'000, true) == 0);
    for (int epoch = 2; epoch <= 4; epoch++) CHECK(pass(policy, rng, 1'000'000, true) >= 0.42);
  }
}

TEST_CASE("A loop over twice the cache hits, where LRU never does") {
  Rng rng(1);
  bench::Ours policy(kFiles * kBytes / 2);
  pass(policy, rng, 0, false);
  for (int round = 0; round < 3; round++) CHECK(pass(policy, rng, 0, false) >= 0.45);
}

TEST_CASE("Zipf 1.0 over ten times the cache") {
  for (const uint64_t seed : {1, 2, 3}) {
    CAPTURE(seed);
    Rng rng(seed);
    bench::Ours policy(kFiles * kBytes / 10);
    std::vector<double> weights(kFiles);
    for (size_t i = 0; i < kFiles; i++) weights[i] = 1.0 / static_cast<double>(i + 1);
    std::discrete_distribution<uint64_t> pick(weights.begin(), weights.end());
    int hits = 0;
    for (int i = 0; i < 120'000; i++)
      if (policy.access({pick(rng), kBytes}) && i >= 40'000) hits++;
    CHECK(hits / 80'000.0 >= 0.66);
  }
}

TEST_CASE("A short look at other files costs the cached set nothing") {
  Rng rng(1);
  bench::Ours policy(kFiles * kBytes / 2);
  for (int epoch = 0; epoch < 3; epoch++) pass(policy, rng, 0, true);
  for (uint64_t key = 1'000'000; key < 1'000'000 + kFiles / 10; key++) policy.access({key, kBytes});
  CHECK(pass(policy, rng, 0, true) >= 0.45);
}

TEST_CASE("Held files are never named and keep their place") {
  EvictionPolicy policy(1000);
  for (uint64_t fid = 1; fid <= 10; fid++) {
    policy.accessed(fid, fid, 100);
    policy.inserted(fid, fid, 100);
  }
  policy.set_evictable(1, false);
  policy.set_evictable(2, false);
  CHECK(policy.oldest(200) == std::vector<uint64_t>{3, 4});
  policy.set_evictable(2, true);
  CHECK(policy.oldest(100) == std::vector<uint64_t>{2});  // before 5: its place was kept
  CHECK(policy.oldest(100) == std::vector<uint64_t>{5});  // 3 and 4 are claimed already
  policy.set_evictable(3, true);                          // not evicted after all
  CHECK(policy.oldest(1) == std::vector<uint64_t>{3});
  policy.accessed(4, 4, 100);  // in use again: the newest now
  CHECK(policy.oldest(100'000) == std::vector<uint64_t>{6, 7, 8, 9, 10, 4});
  policy.removed(6);
  CHECK(policy.entries() == 9);
}

TEST_CASE("A file that is open before it is inserted is no victim") {
  EvictionPolicy policy(1000);
  policy.set_evictable(7, false);
  policy.accessed(7, 7, 100);
  policy.inserted(7, 7, 100);
  CHECK(policy.oldest(100).empty());
  policy.accessed(7, 7, 100);  // opened a second time
  CHECK(policy.oldest(100).empty());
  policy.set_evictable(7, true);
  CHECK(policy.oldest(100) == std::vector<uint64_t>{7});
}

TEST_CASE("Admission names enough victims or none") {
  EvictionPolicy policy(1000);
  for (uint64_t fid = 1; fid <= 10; fid++) {
    policy.accessed(fid, fid, 100);
    policy.inserted(fid, fid, 100);
  }
  CHECK(policy.admit(99, 100, 0).admit);                                      // room
  CHECK(policy.admit(99, 100, -5).admit);                                     // room
  for (uint64_t key = 100; key < 110; key++) policy.accessed(key, key, 100);  // a new data set
  CHECK_FALSE(policy.admit(200, 2000, 2000).admit);
  const auto some = policy.admit(200, 250, 250);
  CHECK(some.admit);
  CHECK(some.victims ==
        std::vector<uint64_t>{1, 2, 3});  // a refused admission gave its claims back, in place
}

TEST_CASE("Restored entries are older than everything of this mount") {
  EvictionPolicy policy(1000);
  policy.accessed(50, 50, 100);
  policy.inserted(50, 50, 100);
  for (uint64_t fid = 1; fid <= 3; fid++) policy.restore(fid, fid, 100);
  policy.restore(50, 50, 100);  // was met before the walk came to it
  CHECK(policy.entries() == 4);
  CHECK(policy.oldest(10'000) == std::vector<uint64_t>{1, 2, 3, 50});
}

TEST_CASE("Ghosts remember, age, grow and forget") {
  GhostTable ghosts;
  CHECK_FALSE(ghosts.age(1, 0));
  ghosts.grow(1024);
  for (uint64_t key = 0; key < 500; key++) ghosts.put(key, static_cast<int64_t>(key));
  ghosts.grow(8192);
  int known = 0;
  for (uint64_t key = 0; key < 500; key++)
    known += ghosts.age(key, 600) == 600 - static_cast<int64_t>(key) ? 1 : 0;
  CHECK(known >= 490);  // a set of 8 may overflow
  for (uint64_t key = 1000; key < 100'000; key++) ghosts.put(key, static_cast<int64_t>(key));
  int wrong = 0;
  for (uint64_t key = 0; key < 500; key++) wrong += ghosts.age(key, 100'000) ? 1 : 0;
  CHECK(wrong == 0);
  CHECK(ghosts.age(99'999, 100'000) == 1);
}

TEST_CASE("EvictionPolicy is safe under threads and names no file twice") {
  EvictionPolicy policy(100'000);
  std::atomic<int> named{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 2000; i++) {
        const uint64_t fid = t * 10'000 + i;
        policy.accessed(fid, fid, 100);
        policy.inserted(fid, fid, 100);
        if (i % 3 != 0) continue;
        for (uint64_t victim : policy.oldest(100)) {
          policy.removed(victim);
          named++;
        }
      }
    });
  for (auto& t : threads) t.join();
  CHECK(policy.entries() == 8000 - static_cast<size_t>(named));
}

}  // namespace
}  // namespace s3cache::cache
