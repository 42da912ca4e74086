// GhostTable: when keys that are not cached were last seen, in 8 bytes a key; the oldest are forgotten.
//
// Sets of 8 slots (one cache line); a slot is 40 bits of the key and 24 bits of coarse time. A full set gives
// up its oldest slot. With ticks of capacity/1,024, 24 bits reach 16,384 capacities back. Wrong answers:
// about 1 in 200,000 lookups at 4 million slots, which moves an average by nothing.
//
// Threads: one at a time (EvictionPolicy locks). Owns its slots. Units: the caller's ticks, modulo 2^24.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace s3cache::cache {

class GhostTable {
 public:
  // Room for at least `slots` keys; keeps what it knows.
  void grow(size_t slots);
  size_t slots() const { return slots_.size(); }
  void put(uint64_t key, int64_t tick);
  // Ticks since the key was put, if it is remembered. REQUIRES: now >= every tick put.
  std::optional<int64_t> age(uint64_t key, int64_t now) const;

 private:
  static constexpr size_t kWays = 8;
  size_t set_of(uint64_t tag) const { return static_cast<size_t>(tag) & (slots_.size() / kWays - 1); }

  std::vector<uint64_t> slots_;  // tag << 24 | tick; 0: empty
};

}  // namespace s3cache::cache
