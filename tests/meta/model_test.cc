// The store against a std::map, with failing commits and living snapshots; and readers beside a writer.
#include <atomic>
#include <map>
#include <thread>

#include "meta/records.h"
#include "test_util.h"

namespace s3cache::meta {
namespace {

using Model = std::map<std::pair<Table, std::string>, std::string>;
constexpr Table kTables[] = {Table::kDirent, Table::kInode, Table::kJournal};

void apply_to(Model& m, const Batch& b) {
  for (const Batch::Op& op : b.ops()) {
    if (op.value) {
      m[{op.table, op.key}] = *op.value;
    } else {
      m.erase({op.table, op.key});
    }
  }
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : rng_(seed) {}

  void run(MetaStore& s, std::atomic<int>& fault, int steps) {
    struct Held {
      std::unique_ptr<MetaStore::Snapshot> snapshot;
      Model model;
    };
    std::vector<Held> held;
    for (int i = 0; i < steps; ++i) {
      fault = rng_() % 8 == 0 ? EIO : 0;
      const uint64_t dice = rng_() % 20;
      if (dice < 12) {
        Batch b = random_batch();
        if (rng_() % 10 == 0) {
          if (s.apply_durable(b).ok()) apply_to(model_, b);
        } else {
          apply_to(model_, b);
          s.apply(std::move(b));
        }
      } else if (dice == 12) {
        (void)s.flush();
      } else if (dice == 13 && held.size() < 4) {
        held.push_back({s.snapshot(), model_});
      } else if (dice == 14 && !held.empty()) {
        held.erase(held.begin() + static_cast<long>(rng_() % held.size()));
      } else if (dice == 15 && !held.empty()) {
        const Held& h = held[rng_() % held.size()];
        check(*h.snapshot, h.model);
      } else {
        check(s, model_);
      }
    }
    fault = 0;
    for (const Held& h : held) check(*h.snapshot, h.model);
    held.clear();
    REQUIRE(s.flush().ok());
    for (int i = 0; i < 50; ++i) check(s, model_);
  }

  void check_all(MetaStore& s) {
    for (const Table t : kTables) check_scan(s, model_, t, "", "", 1 << 20);
  }

 private:
  // Short keys over three letters: they collide, and some are prefixes of others.
  std::string random_key() {
    std::string k(1 + rng_() % 4, '\0');
    for (char& c : k) c = "ab\xff"[rng_() % 3];
    return k;
  }

  Batch random_batch() {
    Batch b;
    for (uint64_t n = 1 + rng_() % 30; n > 0; --n) {
      const Table t = kTables[rng_() % 3];
      if (rng_() % 3 == 0) {
        b.erase(t, random_key());
      } else {
        b.put(t, random_key(), std::to_string(++counter_) + std::string(rng_() % 200, 'v'));
      }
    }
    return b;
  }

  template <class Source>
  void check(Source& s, const Model& m) {
    const Table t = kTables[rng_() % 3];
    const std::string key = random_key();
    const auto got = s.get(t, key);
    REQUIRE(got.ok());
    const auto want = m.find({t, key});
    REQUIRE(got->has_value() == (want != m.end()));
    if (want != m.end()) REQUIRE(**got == want->second);
    const std::string prefix = rng_() % 2 == 0 ? "" : random_key().substr(0, 2);
    const std::string from = rng_() % 2 == 0 ? "" : random_key();
    check_scan(s, m, t, from, prefix, rng_() % 3 == 0 ? rng_() % 10 : 1 << 20);
  }

  template <class Source>
  void check_scan(Source& s, const Model& m, Table t, std::string_view from, std::string_view prefix,
                  size_t limit) {
    std::vector<std::pair<std::string, std::string>> got, want;
    REQUIRE(s.scan(t, from, prefix, limit, [&](std::string_view k, std::string_view v) {
               got.emplace_back(k, v);
               return true;
             }).ok());
    for (auto it = m.lower_bound({t, std::string(std::max(from, prefix))}); it != m.end(); ++it) {
      if (it->first.first != t || !it->first.second.starts_with(prefix) || want.size() == limit) break;
      want.emplace_back(it->first.second, it->second);
    }
    REQUIRE(got == want);
  }

  std::mt19937_64 rng_;
  Model model_;
  uint64_t counter_ = 0;
};

}  // namespace

TEST_CASE("the store behaves as a map, whatever commits do") {
  const uint64_t seed = test_seed();
  CAPTURE(seed);
  TempDir dir;
  Fuzzer fuzzer(seed);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> fault = 0;
    {
      // A map that need not grow: the held snapshots would not let it.
      auto s = open_store(dir.file(), [&] { return fault.load(); });
      if (round > 0) fuzzer.check_all(*s);
      fuzzer.run(*s, fault, 2000);
    }
  }
  auto s = open_store(dir.file());
  fuzzer.check_all(*s);
}

TEST_CASE("readers beside a writer see whole batches and never go back") {
  TempDir dir;
  auto s = open_store(dir.file(), nullptr, 128 << 10);  // grows under the readers
  constexpr int kKeys = 40;
  std::atomic<uint64_t> applied = 0;
  std::atomic<bool> stop = false;
  std::atomic<const char*> wrong = nullptr;
  auto key = [](int i) { return id_key(static_cast<uint64_t>(i)); };
  auto write = [&](uint64_t n) {
    Batch b;
    for (int i = 0; i < kKeys; ++i) b.put(i % 2 == 0 ? Table::kInode : Table::kDirent, key(i), be64(n));
    b.put(Table::kJournal, be64(n), std::string(500, 'j'));
    if (n > 20) b.erase(Table::kJournal, be64(n - 20));
    return b;
  };
  s->apply(write(0));
  auto reader = [&](uint64_t seed) {
    std::mt19937_64 rng(seed);
    uint64_t last = 0;
    while (!stop) {
      const uint64_t floor = std::max(last, applied.load());
      const int k = static_cast<int>(rng() % kKeys);
      const auto v = s->get(k % 2 == 0 ? Table::kInode : Table::kDirent, key(k));
      if (!v.ok() || !*v) {
        wrong = "a record is missing";
        continue;
      }
      last = read_be64(**v);
      if (last < floor) wrong = "get() went back";
      const auto snap = s->snapshot();
      const uint64_t want = read_be64(snap->get(Table::kInode, key(0))->value());
      if (want < last) wrong = "a snapshot is older than what was read before it";
      for (const Table t : {Table::kInode, Table::kDirent}) {
        size_t n = 0;
        const Status st = snap->scan(t, "", "", 100, [&](auto, std::string_view value) {
          if (read_be64(value) != want) wrong = "a snapshot shows half a batch";
          ++n;
          return true;
        });
        if (!st.ok() || n != kKeys / 2) wrong = "a snapshot misses records";
      }
      // A get inside a snapshot must not hang while the map wants to grow.
      if (!s->get(Table::kInode, key(0)).ok()) wrong = "a get beside a snapshot failed";
    }
  };
  std::vector<std::thread> readers;
  for (uint64_t i = 0; i < 3; ++i) readers.emplace_back(reader, i);
  for (uint64_t n = 1; n <= 1500 && wrong == nullptr; ++n) {
    if (n % 50 == 0) {
      if (!s->apply_durable(write(n)).ok()) wrong = "a commit failed";
    } else {
      s->apply(write(n));
    }
    applied = n;
  }
  stop = true;
  for (auto& t : readers) t.join();
  INFO((wrong == nullptr ? "" : wrong.load()));
  REQUIRE(wrong == nullptr);
  REQUIRE(s->stats().map_bytes > 128 << 10);
}

}  // namespace s3cache::meta
