// The three CRC32C kernels, in the open so that tests compare them. Callers use base/crc32c.h.
// All take and give the raw register (no inversion). Threads: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace s3cache::crc32c_detail {

constexpr uint32_t kPoly = 0x82f63b78;  // 0x1EDC6F41 with its bits reversed

inline uint64_t load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

uint32_t update_table(uint32_t c, const uint8_t* p, size_t n);
// REQUIRES: have_sse42().
uint32_t update_sse42(uint32_t c, const uint8_t* p, size_t n);
bool have_sse42();
// REQUIRES: have_vpclmul().
uint32_t update_vpclmul(uint32_t c, const uint8_t* p, size_t n);
bool have_vpclmul();

}  // namespace s3cache::crc32c_detail
