// Figures of the cache floor: bench_cache [folder] (default: the temporary folder).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "cache/cache_dir.h"
#include "cache/cache_file.h"
#include "cache/eviction_policy.h"
#include "cache/page_map.h"

using namespace s3cache;         // NOLINT: a program of one file
using namespace s3cache::cache;  // NOLINT

namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kSize = 512 * kMiB;

double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }
double timed(const std::function<void()>& body) {
  const auto start = Clock::now();
  body();
  return since(start);
}
void ns_each(const char* what, double s, double n) { std::printf("%-58s %10.1f ns\n", what, s / n * 1e9); }
void gb(const char* what, double s, double bytes) {
  std::printf("%-58s %10.2f GB/s\n", what, bytes / s / 1e9);
}

void page_map() {
  constexpr int kRounds = 1'000'000;
  PageMap map(1 << 30);
  map.mark(0, (1 << 30) - kPage);  // all but one page: no short cut
  std::mt19937_64 rng(1);
  int64_t found = 0;
  const double covers = timed([&] {
    for (int i = 0; i < kRounds; i++)
      found += map.covers(static_cast<int64_t>(rng() % 1000) * kMiB, kMiB) ? 1 : 0;
  });
  ns_each("PageMap::covers, 1 MiB of a nearly full 1 GiB", covers, kRounds);
  for (int64_t at = 0; at < 1 << 30; at += 2 * kPage) map.clear(at, 1);
  const double half = timed([&] {
    for (int i = 0; i < kRounds; i++)
      found += static_cast<int64_t>(map.missing(static_cast<int64_t>(rng() % 1000) * kMiB, kMiB).size());
  });
  ns_each("PageMap::missing, 1 MiB, every other page (128 runs)", half, kRounds);
  if (found == 0) std::printf("nothing found\n");
}

void write_and_read(CacheDir& dir) {
  FdCache fds(16);
  std::vector<std::byte> data(static_cast<size_t>(kMiB));
  std::mt19937_64 rng(1);
  std::generate(data.begin(), data.end(), [&] { return static_cast<std::byte>(rng()); });
  CacheFile file(dir, fds, 1, kSize, true);
  gb("CRC32C of 1 MiB in the CPU's cache", timed([&] {
       uint32_t crc = 0;
       for (int i = 0; i < 1000; i++) crc = crc32c(crc, data.data(), data.size());
       data[0] = static_cast<std::byte>(crc);
     }),
     1000.0 * kMiB);
  gb("CacheFile::write, 1 MiB pieces", timed([&] {
       for (int64_t at = 0; at < kSize; at += kMiB) (void)file.write(at, data);
     }),
     kSize);
  const auto sweep = [&](bool verify) {
    return timed([&] {
      for (int64_t at = 0; at < kSize; at += kMiB) (void)file.read(at, data, verify);
    });
  };
  gb("CacheFile::read, 1 MiB pieces, never verified", sweep(false), kSize);
  gb("CacheFile::read, 1 MiB pieces, first touch (verifies)", sweep(true), kSize);
  gb("CacheFile::read, 1 MiB pieces, again", sweep(true), kSize);

  const CacheChanges stored = file.take_changes();
  const auto random_reads = [&](CacheFile& f, int n) {
    return timed([&] {
      for (int i = 0; i < n; i++)
        (void)f.read(static_cast<int64_t>(rng() % (kSize / kPage)) * kPage, std::span(data).first(kPage));
    });
  };
  CacheFile loaded(dir, fds, 1, kSize, false);
  for (const auto& [chunk, bits] : stored.maps) loaded.load_map(chunk, bits);
  for (const auto& crcs : stored.crcs) loaded.load_crcs(crcs);
  ns_each("CacheFile::read, random 4 KiB, nearly all first touches", random_reads(loaded, 2000), 2000);
  ns_each("CacheFile::read, random 4 KiB, all verified", random_reads(file, 200'000), 200'000);
}

void small_files(CacheDir& dir) {
  constexpr uint64_t kFiles = 5000;
  FdCache fds(256);
  const std::vector<std::byte> data(100'000);
  ns_each("a file of 100 kB: create, write, take_changes", timed([&] {
            for (uint64_t fid = 1000; fid < 1000 + kFiles; fid++) {
              CacheFile file(dir, fds, fid, static_cast<int64_t>(data.size()), true);
              (void)file.write(0, data);
              (void)file.take_changes();
            }
          }),
          kFiles);
}

void policy() {
  constexpr uint64_t kFiles = 1'000'000;
  EvictionPolicy policy(kFiles * 50);
  const auto access = [&](uint64_t key) {
    policy.accessed(key, key, 100);
    policy.set_evictable(key, false);
    const auto admission = policy.admit(key, 100, key < kFiles / 2 ? 0 : 100);
    for (uint64_t fid : admission.victims) policy.removed(fid);
    if (admission.admit) policy.inserted(key, key, 100);
    policy.set_evictable(key, true);
  };
  ns_each("EvictionPolicy: open, miss, admit, close; 500,000 entries", timed([&] {
            for (uint64_t key = 0; key < 2 * kFiles; key++) access(key);
          }),
          2.0 * kFiles);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string root = std::string(argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string()) +
                           "/s3cache-bench-cache";
  std::filesystem::remove_all(root);
  CacheDirOptions options;
  options.root = root;
  options.identity = options.bucket = "bench";
  const auto start = Clock::now();
  auto dir = CacheDir::open(options);
  if (!dir.ok()) {
    std::fprintf(stderr, "%s\n", dir.error().message.c_str());
    return 1;
  }
  std::printf("%-58s %10.1f ms\n", "CacheDir::open, a new folder", since(start) * 1e3);
  page_map();
  write_and_read(**dir);
  small_files(**dir);
  policy();
  dir->reset();
  std::filesystem::remove_all(root);
}
