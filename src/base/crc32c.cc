#include "base/crc32c.h"

#include <array>

#include "base/crc32c_impl.h"

namespace s3cache {

namespace crc32c_detail {

namespace {

using Table = std::array<std::array<uint32_t, 256>, 8>;

constexpr Table make_table() {
  Table t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? c >> 1 ^ kPoly : c >> 1;
    t[0][i] = c;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t i = 0; i < 256; ++i) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 0xff];
  return t;
}

constexpr Table kTable = make_table();

}  // namespace

uint32_t update_table(uint32_t c, const uint8_t* p, size_t n) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (; n >= 8; n -= 8, p += 8) {
    const uint64_t v = load64(p) ^ c;
    c = 0;
    for (size_t k = 0; k < 8; ++k) c ^= kTable[7 - k][v >> (8 * k) & 0xff];
  }
#endif
  for (; n > 0; --n) c = c >> 8 ^ kTable[0][(c ^ *p++) & 0xff];
  return c;
}

}  // namespace crc32c_detail

uint32_t crc32c(uint32_t crc, const void* data, size_t n) {
  using namespace crc32c_detail;
  static const auto update = have_vpclmul() ? update_vpclmul : have_sse42() ? update_sse42 : update_table;
  return ~update(~crc, static_cast<const uint8_t*>(data), n);
}

}  // namespace s3cache
