// Figures of the metadata store: bench_meta [folder] (default: the temporary folder).
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "meta/meta_store.h"
#include "meta/records.h"

using namespace s3cache;        // NOLINT: a program of one file
using namespace s3cache::meta;  // NOLINT

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kFiles = 1'000'000;

double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }
void rate(const char* what, double n, double s) { std::printf("%-58s %8.3f s %12.0f /s\n", what, s, n / s); }

std::string name_of(uint64_t i) {
  char text[32];
  std::snprintf(text, sizeof text, "image-%08llu.jpg", static_cast<unsigned long long>(i));
  return text;
}

Inode inode_of(uint64_t i) {
  Inode n;
  n.parent = 1;
  n.kind_known = true;
  n.size = 123'456;
  n.last_modified_s = 1'700'000'000;
  n.etag = "d41d8cd98f00b204e9800998ecf8427e";
  n.name = name_of(i);
  return n;
}

void list(MetaStore& s) {
  const auto t = Clock::now();
  double worst = 0;
  for (uint64_t i = 0; i < kFiles;) {
    Batch b;
    for (int n = 0; n < 500; ++n, ++i) {
      b.put(Table::kDirent, dirent_key(1, name_of(i), false), Dirent{i + 2, 1}.encode());
      b.put(Table::kInode, id_key(i + 2), inode_of(i).encode());
    }
    const auto one = Clock::now();
    s.apply(std::move(b));
    worst = std::max(worst, since(one));
  }
  rate("apply, sorted, 1,000 records a batch", 2.0 * kFiles, since(t));
  if (!s.flush().ok()) std::puts("flush failed");
  rate("  the same to the disk", 2.0 * kFiles, since(t));
  const StoreStats st = s.stats();
  std::printf("  slowest apply %.1f ms, %llu commits, file %.0f MiB\n", worst * 1e3,
              static_cast<unsigned long long>(st.commits), static_cast<double>(st.file_bytes) / (1 << 20));
}

void gets(MetaStore& s, int threads, const char* what) {
  constexpr uint64_t kGets = 500'000;
  const auto t = Clock::now();
  std::vector<std::thread> pool;
  std::atomic<uint64_t> missing = 0;
  for (int i = 0; i < threads; ++i) {
    pool.emplace_back([&, i] {
      std::mt19937_64 rng(static_cast<uint64_t>(i));
      for (uint64_t n = 0; n < kGets; ++n) {
        const auto v = s.get(Table::kInode, id_key(rng() % kFiles + 2));
        if (!v.ok() || !*v) ++missing;
      }
    });
  }
  for (auto& th : pool) th.join();
  rate(what, static_cast<double>(kGets) * threads, since(t));
  if (missing != 0) std::puts("  records are missing");
}

void walk(MetaStore& s, const char* what) {
  const auto t = Clock::now();
  uint64_t n = 0, bytes = 0;
  const auto snap = s.snapshot();
  std::vector<uint64_t> page;
  std::string from;
  const std::string prefix = id_key(1);
  for (bool more = true; more;) {  // as a readdir does: some entries, then their inodes
    page.clear();
    const Status st =
        snap->scan(Table::kDirent, from, prefix, 1000, [&](std::string_view k, std::string_view v) {
          page.push_back(Dirent::decode(v)->ino);
          from.assign(k);
          return true;
        });
    from.push_back('\0');
    for (const uint64_t ino : page) bytes += snap->get(Table::kInode, id_key(ino)).value()->size();
    n += page.size();
    more = st.ok() && page.size() == 1000;
  }
  rate(what, static_cast<double>(n), since(t));
  if (n != kFiles || bytes == 0) std::puts("  entries are missing");
}

void durable(MetaStore& s) {
  const auto t = Clock::now();
  for (uint64_t i = 0; i < 1000; ++i) {
    Batch b;
    b.put(Table::kJournal, id_key(i), std::string(200, 'j'));
    (void)s.apply_durable(std::move(b));
  }
  rate("apply_durable, one after the other", 1000, since(t));
  const auto t4 = Clock::now();
  std::vector<std::thread> pool;
  for (uint64_t k = 0; k < 8; ++k) {
    pool.emplace_back([&, k] {
      for (uint64_t i = 0; i < 500; ++i) {
        Batch b;
        b.put(Table::kJournal, id_key(k << 32 | i), std::string(200, 'j'));
        (void)s.apply_durable(std::move(b));
      }
    });
  }
  for (auto& th : pool) th.join();
  rate("apply_durable, 8 threads", 4000, since(t4));
}

void mixed(MetaStore& s) {
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> applied = 0;
  std::thread writer([&] {
    for (uint64_t i = 0; !stop; ++i) {
      Batch b;
      b.put(Table::kInode, id_key(i % kFiles + 2), inode_of(i).encode());
      s.apply(std::move(b));
      ++applied;
    }
  });
  gets(s, 2, "get, 2 threads, beside a writer of single records");
  stop = true;
  writer.join();
  std::printf("  the writer applied %llu\n", static_cast<unsigned long long>(applied.load()));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string();
  Options o;
  o.path = folder + "/bench_meta.mdb";
  (void)remove_store_files(o.path);
  {
    auto opened = MetaStore::open(o);
    if (!opened.ok()) {
      std::puts(opened.error().message.c_str());
      return 1;
    }
    MetaStore& s = **opened;
    list(s);
    gets(s, 1, "get, random of 1,000,000, 1 thread");
    gets(s, 4, "get, random of 1,000,000, 4 threads");
    walk(s, "scan of 1,000,000 dirents and a get of each inode");
    durable(s);
    mixed(s);
    const auto t = Clock::now();
    for (int i = 0; i < 1'000'000; ++i) (void)s.next_id();
    rate("next_id", 1e6, since(t));
  }
  const auto t = Clock::now();
  { auto again = MetaStore::open(o); }
  rate("open and close of the filled store", 1, since(t));
  (void)remove_store_files(o.path);
  return 0;
}
