#include "core/readahead.h"

#include <catch2/catch.hpp>
#include <random>

namespace s3cache::core {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kKiB = 1 << 10;

// Plays reads against a Readahead and keeps what was fetched, as a Content with endless memory would.
struct Player {
  explicit Player(int64_t file_size, ReadaheadOptions options = {})
      : size(file_size), map(file_size), readahead(options) {}
  void read(int64_t offset, int64_t length) {
    length = std::min(length, size - offset);
    const bool hit = map.covers(offset, length);
    const Advice a = readahead.on_read(offset, length, size, hit);
    if (!hit) {
      REQUIRE(a.now.offset <= offset);
      REQUIRE(a.now.offset + a.now.length >= offset + length);
      fetch(a.now);
    }
    fetch(a.ahead);
    for (const auto& run : a.strided) fetch(run);
    read_bytes += length;
    misses += hit ? 0 : 1;
  }
  void fetch(cache::Run run) {
    if (run.length == 0) return;
    REQUIRE(run.offset >= 0);
    REQUIRE(run.offset + run.length <= size);
    REQUIRE(run.offset % cache::kPage == 0);
    for (const auto& m : map.missing(run.offset, run.length)) fetched += map.mark(m.offset, m.length);
  }
  double amplification() const { return static_cast<double>(fetched) / static_cast<double>(read_bytes); }

  const int64_t size;
  cache::PageMap map;
  Readahead readahead;
  int64_t fetched = 0, read_bytes = 0;
  int misses = 0;
};

}  // namespace

TEST_CASE("a sequential reader fetches each byte once and soon never waits") {
  Player p(256 * kMiB);
  for (int64_t at = 0; at < p.size; at += 128 * kKiB) p.read(at, 128 * kKiB);
  CHECK(p.fetched == p.size);
  CHECK(p.misses <= 3);
}

TEST_CASE("a sequential reader that starts in the middle becomes a stream") {
  Player p(256 * kMiB);
  for (int64_t at = 100 * kMiB; at < p.size; at += 128 * kKiB) p.read(at, 128 * kKiB);
  CHECK(p.misses <= 6);
}

TEST_CASE("random 128 KiB reads fetch little more than they read") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 rng(seed);
  Player p(1024 * kMiB);
  for (int i = 0; i < 400; ++i) p.read(static_cast<int64_t>(rng() % (1023 * kMiB)), 128 * kKiB);
  CHECK(p.amplification() <= 1.10);
}

TEST_CASE("random 4 KiB reads shrink what is fetched around them, and hits widen it again") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 rng(seed);
  Player p(4096 * kMiB);
  for (int i = 0; i < 200; ++i) p.read(static_cast<int64_t>(rng() % (4000 * kMiB / 4096)) * 4096, 4096);
  CHECK(p.readahead.min_fetch() <= 8 * kKiB);
  const int64_t shrunk = p.readahead.min_fetch();
  p.map.mark(0, p.size);
  for (int i = 0; i < 64; ++i) p.read(static_cast<int64_t>(rng() % (4000 * kMiB / 4096)) * 4096, 4096);
  CHECK(p.readahead.min_fetch() > shrunk);
}

TEST_CASE("a look at the tail leaves the stream at the head alone") {
  Player p(256 * kMiB);
  for (int i = 0; i < 64; ++i) {
    p.read(i * 128 * kKiB, 128 * kKiB);
    p.read(p.size - 64 * kKiB + (i % 4) * 4 * kKiB, 4 * kKiB);
  }
  CHECK(p.misses <= 8);
  CHECK(p.fetched <= 64 * 128 * kKiB + 36 * kMiB);  // what was read, one window ahead, the tail
}

TEST_CASE("eight interleaved streams each get their window") {
  Player p(1024 * kMiB);
  for (int step = 0; step < 256; ++step)
    for (int64_t s = 0; s < 8; ++s) p.read(s * 100 * kMiB + step * 128 * kKiB, 128 * kKiB);
  CHECK(p.misses <= 8 * 6);
}

TEST_CASE("a regular stride is fetched ahead") {
  Player p(1024 * kMiB);
  for (int64_t i = 1; i < 100; ++i) p.read(i * 3 * kMiB, 64 * kKiB);
  CHECK(p.misses <= 6);
}

TEST_CASE("reads that arrive a little out of order stay one stream") {
  Player p(256 * kMiB);
  for (int64_t at = 0; at < 200 * kMiB; at += 512 * kKiB) {
    p.read(at + 256 * kKiB, 256 * kKiB);
    p.read(at, 256 * kKiB);
  }
  CHECK(p.misses <= 8);
}

TEST_CASE("a reader that stops has at most one window fetched in vain") {
  ReadaheadOptions options;
  options.max_window = 8 * kMiB;
  Player p(1024 * kMiB, options);
  for (int64_t at = 0; at < 64 * kMiB; at += 128 * kKiB) p.read(at, 128 * kKiB);
  CHECK(p.fetched <= 64 * kMiB + 2 * options.max_window);
}

TEST_CASE("what found no memory is advised again") {
  Readahead r({});
  bool refused = false, seen = false;
  for (int64_t at = 0; at < 64 * kMiB && !seen; at += kMiB) {
    const Advice a = r.on_read(at, kMiB, 256 * kMiB, true);
    if (a.ahead.length == 0) continue;
    if (refused) {
      seen = true;
      CHECK(a.ahead.offset == at + kMiB);  // right behind the reader, nothing skipped
    }
    refused = true;
    r.not_fetched(a.ahead);
  }
  CHECK(seen);
}

}  // namespace s3cache::core
