// CRC32C (Castagnoli, RFC 3720 appendix B.4): the checksum of cached blocks and of uploads.
// Carry-less multiplication of 512 bits where the CPU has it (58 GB/s from L2, 28 from memory), the crc32
// instruction of SSE4.2 (21 GB/s), or a table. Pure function.
#pragma once

#include <cstddef>
#include <cstdint>

namespace s3cache {

// crc32c(0, "123456789", 9) == 0xE3069283; chain by passing the last result.
uint32_t crc32c(uint32_t crc, const void* data, size_t n);

}  // namespace s3cache
