// Simulates eviction rules over the access patterns that a cache of training data meets. Prints byte hit
// ratios.
//
//   make build/cache_sim && build/cache_sim [seed]
//
// The policy of the program (ours) runs as it does in the program: accessed() on each open, admit() on a
// miss, victims removed at once. Four readers interleave: a file stays open (not evictable) for the next
// three accesses.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/cache_sim_policies.h"

namespace s3cache::bench {
namespace {

using Rng = std::mt19937_64;

constexpr int64_t kMean = 100;

struct Trace {
  std::vector<Access> accesses;
  std::vector<size_t> marks;  // where a phase (epoch) ends
};

struct Workload {
  std::string name;
  int64_t capacity;
  Trace trace;
  std::vector<std::pair<std::string, std::pair<size_t, size_t>>> report;  // column name, phases [first, last]
};

// Sizes between a quarter and seven quarters of the mean, the same for a key every time.
int64_t size_of(uint64_t key) {
  uint64_t h = key * 0x9e3779b97f4a7c15;
  h ^= h >> 32;
  return kMean / 4 + static_cast<int64_t>(h % static_cast<uint64_t>(kMean * 3 / 2 + 1));
}

void touch(Trace& t, uint64_t key) { t.accesses.push_back({key, size_of(key)}); }
void mark(Trace& t) { t.marks.push_back(t.accesses.size()); }

void epoch(Trace& t, Rng& rng, uint64_t base, size_t n, bool shuffled) {
  std::vector<uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), base);
  if (shuffled) std::shuffle(keys.begin(), keys.end(), rng);
  for (uint64_t k : keys) touch(t, k);
  mark(t);
}

class Zipf {
 public:
  Zipf(size_t n, double s) : cumulative_(n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) cumulative_[i] = sum += std::pow(static_cast<double>(i + 1), -s);
  }
  uint64_t operator()(Rng& rng) const {
    const double x = std::uniform_real_distribution<>(0, cumulative_.back())(rng);
    return static_cast<uint64_t>(std::lower_bound(cumulative_.begin(), cumulative_.end(), x) -
                                 cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

constexpr size_t kFiles = 10'000;
constexpr uint64_t kOther = 1'000'000'000;

Workload epochs_then_new_set(Rng& rng, double cached, size_t revisit_percent) {
  char name[64];
  std::snprintf(name, sizeof(name), "epochs, cache %.0f %%%s", cached * 100,
                revisit_percent ? ", shared files" : "");
  Workload w{name, static_cast<int64_t>(cached * kFiles * kMean), {}, {}};
  for (int set = 0; set < 2; set++)
    for (int e = 0; e < 4; e++) {
      epoch(w.trace, rng, set == 0 ? 0 : kOther, kFiles, true);
      if (revisit_percent == 0) continue;
      // Some files of the first set belong to the second as well.
      w.trace.marks.pop_back();
      if (set == 1) {
        std::vector<uint64_t> shared(kFiles * revisit_percent / 100);
        std::iota(shared.begin(), shared.end(), 0);
        for (uint64_t k : shared) touch(w.trace, k);
        std::shuffle(w.trace.accesses.end() - static_cast<long>(kFiles + shared.size()),
                     w.trace.accesses.end(), rng);
      }
      mark(w.trace);
    }
  w.report = {{"A2", {1, 1}}, {"A3-4", {2, 3}}, {"B1", {4, 4}}, {"B2", {5, 5}}, {"B3-4", {6, 7}}};
  return w;
}

Workload zipf(Rng& rng, double s) {
  char name[64];
  std::snprintf(name, sizeof(name), "Zipf %.1f, cache 10 %%", s);
  Workload w{name, static_cast<int64_t>(0.1 * kFiles * kMean), {}, {}};
  const Zipf pick(kFiles, s);
  for (size_t i = 0; i < 30 * kFiles; i++) {
    if (i == 5 * kFiles) mark(w.trace);
    touch(w.trace, pick(rng) * 7919 % kFiles);
  }
  mark(w.trace);
  w.report = {{"warm", {1, 1}}};
  return w;
}

Workload loop(Rng& rng) {
  Workload w{"loop scan, cache 50 %", kFiles / 2 * kMean, {}, {}};
  for (int e = 0; e < 5; e++) epoch(w.trace, rng, 0, kFiles, false);
  w.report = {{"2", {1, 1}}, {"3-5", {2, 4}}};
  return w;
}

// A hot set of 40 % of the cache, and scans of files never seen before that are `scan_percent` of the
// accesses.
Workload scan_and_hot(Rng& rng, unsigned scan_percent) {
  Workload w{"hot set + " + std::to_string(scan_percent) + " % scan", kFiles / 2 * kMean, {}, {}};
  const Zipf pick(kFiles / 5, 0.6);
  uint64_t next = kOther;
  for (size_t i = 0; i < 12 * kFiles; i++) {
    if (i == 4 * kFiles) mark(w.trace);
    touch(w.trace, rng() % 100 < scan_percent ? next++ : pick(rng) * 7919 % (kFiles / 5));
  }
  mark(w.trace);
  w.report = {{"warm", {1, 1}}};
  return w;
}

// A hot set that moves: each phase has a Zipf of its own over other files.
Workload moving(Rng& rng) {
  Workload w{"Zipf 0.9, moves 5 times", static_cast<int64_t>(0.1 * kFiles * kMean), {}, {}};
  const Zipf pick(kFiles, 0.9);
  for (uint64_t phase = 0; phase < 5; phase++) {
    for (size_t i = 0; i < 6 * kFiles; i++) touch(w.trace, phase * kOther + pick(rng) * 7919 % kFiles);
    mark(w.trace);
  }
  w.report = {{"1", {0, 0}}, {"2-5", {1, 4}}};
  return w;
}

double ratio(const std::vector<std::pair<int64_t, int64_t>>& phases, std::pair<size_t, size_t> range) {
  int64_t hits = 0, all = 0;
  for (size_t i = range.first; i <= range.second; i++) {
    hits += phases[i].first;
    all += phases[i].second;
  }
  return static_cast<double>(hits) / static_cast<double>(all);
}

std::vector<std::pair<int64_t, int64_t>> run(const Workload& w, Policy& policy) {
  std::vector<std::pair<int64_t, int64_t>> phases;  // hit bytes, bytes
  size_t at = 0;
  for (size_t end : w.trace.marks) {
    auto& phase = phases.emplace_back();
    for (; at < end; at++) {
      const Access& a = w.trace.accesses[at];
      if (policy.access(a)) phase.first += a.bytes;
      phase.second += a.bytes;
    }
  }
  return phases;
}

void simulate(const Workload& w) {
  std::printf("\n%-28s", w.name.c_str());
  for (const auto& [column, range] : w.report) std::printf("%8s", column.c_str());
  std::printf("\n");
  for (const std::string& name : policy_names()) {
    const auto policy = make_policy(name, w.capacity);
    const auto phases = run(w, *policy);
    std::printf("  %-26s", name.c_str());
    for (const auto& [column, range] : w.report) std::printf("%8.3f", ratio(phases, range));
    std::printf("\n");
  }
}

}  // namespace
}  // namespace s3cache::bench

int main(int argc, char** argv) {
  using namespace s3cache::bench;
  Rng rng(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
  simulate(epochs_then_new_set(rng, 0.5, 0));
  simulate(epochs_then_new_set(rng, 0.25, 0));
  simulate(epochs_then_new_set(rng, 0.1, 0));
  simulate(epochs_then_new_set(rng, 0.9, 0));
  simulate(epochs_then_new_set(rng, 0.5, 25));
  for (double s : {0.9, 1.0}) simulate(zipf(rng, s));
  simulate(loop(rng));
  for (unsigned percent : {20u, 50u, 80u}) simulate(scan_and_hot(rng, percent));
  simulate(moving(rng));
}
