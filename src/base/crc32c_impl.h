// The two CRC32C kernels, in the open so that tests compare them. Callers use base/crc32c.h.
// Both take and give the raw register (no inversion). Threads: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace s3cache::crc32c_detail {

uint32_t update_table(uint32_t c, const uint8_t* p, size_t n);
// REQUIRES: have_sse42().
uint32_t update_sse42(uint32_t c, const uint8_t* p, size_t n);
bool have_sse42();

}  // namespace s3cache::crc32c_detail
