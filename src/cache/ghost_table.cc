#include "cache/ghost_table.h"

#include <algorithm>
#include <bit>

namespace s3cache::cache {

namespace {

constexpr int kTickBits = 24;
constexpr uint64_t kTickMask = (uint64_t{1} << kTickBits) - 1;

// Callers' keys may be plain numbers: mixed before bits are taken from them. Never 0, which marks an empty
// slot.
uint64_t tag_of(uint64_t key) {
  key ^= key >> 31;
  key *= 0x9e3779b97f4a7c15;
  key ^= key >> 29;
  key *= 0xbf58476d1ce4e5b9;
  return std::max<uint64_t>(1, key >> kTickBits);
}

uint64_t ticks_ago(uint64_t slot, int64_t now) { return (static_cast<uint64_t>(now) - slot) & kTickMask; }

}  // namespace

void GhostTable::grow(size_t slots) {
  slots = std::bit_ceil(std::max(slots, kWays));
  if (slots <= slots_.size()) return;
  const std::vector<uint64_t> old(std::move(slots_));
  slots_.assign(slots, 0);
  // A set's slots go to sets of their own multiples, at most 8 into each: every one finds an empty slot.
  for (uint64_t slot : old) {
    if (slot == 0) continue;
    const size_t base = set_of(slot >> kTickBits) * kWays;
    for (size_t i = base; i < base + kWays; i++) {
      if (slots_[i] != 0) continue;
      slots_[i] = slot;
      break;
    }
  }
}

void GhostTable::put(uint64_t key, int64_t tick) {
  if (slots_.empty()) return;
  const uint64_t tag = tag_of(key);
  const size_t base = set_of(tag) * kWays;
  size_t victim = base;
  uint64_t victim_age = 0;
  for (size_t i = base; i < base + kWays; i++) {
    if (slots_[i] == 0 || slots_[i] >> kTickBits == tag) {
      victim = i;
      break;
    }
    const uint64_t age = ticks_ago(slots_[i], tick);
    if (age >= victim_age) {
      victim = i;
      victim_age = age;
    }
  }
  slots_[victim] = tag << kTickBits | (static_cast<uint64_t>(tick) & kTickMask);
}

std::optional<int64_t> GhostTable::age(uint64_t key, int64_t now) const {
  if (slots_.empty()) return std::nullopt;
  const uint64_t tag = tag_of(key);
  const size_t base = set_of(tag) * kWays;
  for (size_t i = base; i < base + kWays; i++)
    if (slots_[i] != 0 && slots_[i] >> kTickBits == tag)
      return static_cast<int64_t>(ticks_ago(slots_[i], now));
  return std::nullopt;
}

}  // namespace s3cache::cache
