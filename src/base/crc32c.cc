#include "base/crc32c.h"

#include <array>
#include <cstring>

#include "base/crc32c_impl.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace s3cache {

namespace crc32c_detail {

namespace {

constexpr uint32_t kPoly = 0x82f63b78;  // 0x1EDC6F41 with its bits reversed

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

uint64_t load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

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

#if defined(__x86_64__)

namespace {

// The crc32 instruction has a latency of 3 and a throughput of 1, so three independent streams keep it busy.
// A long stride wins for 64 KiB blocks (two combinations each), the short one for 4 KiB pages.
constexpr size_t kLong = 4096;
constexpr size_t kShort = 256;

// Advancing a register over N zero bytes is linear, hence the xor of four table look-ups, one a byte.
class ZeroShift {
 public:
  explicit ZeroShift(size_t zeros) {
    std::array<uint32_t, 32> bit{};
    const std::array<uint8_t, kLong> zero{};
    for (size_t i = 0; i < 32; ++i) bit[i] = update_table(uint32_t{1} << i, zero.data(), zeros);
    for (size_t byte = 0; byte < 4; ++byte)
      for (uint32_t v = 0; v < 256; ++v)
        for (size_t k = 0; k < 8; ++k)
          if ((v >> k & 1) != 0) t_[byte][v] ^= bit[byte * 8 + k];
  }
  uint32_t operator()(uint32_t c) const {
    return t_[0][c & 0xff] ^ t_[1][c >> 8 & 0xff] ^ t_[2][c >> 16 & 0xff] ^ t_[3][c >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> t_{};
};

template <size_t kStride>
__attribute__((target("sse4.2"))) uint32_t three_streams(uint32_t c, const uint8_t* p,
                                                         const ZeroShift& shift) {
  uint64_t a = c;
  uint64_t b = 0;
  uint64_t d = 0;
  for (size_t i = 0; i < kStride; i += 8) {
    a = _mm_crc32_u64(a, load64(p + i));
    b = _mm_crc32_u64(b, load64(p + kStride + i));
    d = _mm_crc32_u64(d, load64(p + 2 * kStride + i));
  }
  const uint32_t ab = shift(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b);
  return shift(ab) ^ static_cast<uint32_t>(d);
}

}  // namespace

__attribute__((target("sse4.2"))) uint32_t update_sse42(uint32_t c, const uint8_t* p, size_t n) {
  static const ZeroShift long_shift(kLong);
  static const ZeroShift short_shift(kShort);
  for (; n >= 3 * kLong; n -= 3 * kLong, p += 3 * kLong) c = three_streams<kLong>(c, p, long_shift);
  for (; n >= 3 * kShort; n -= 3 * kShort, p += 3 * kShort) c = three_streams<kShort>(c, p, short_shift);
  uint64_t v = c;
  for (; n >= 8; n -= 8, p += 8) v = _mm_crc32_u64(v, load64(p));
  c = static_cast<uint32_t>(v);
  for (; n > 0; --n) c = _mm_crc32_u8(c, *p++);
  return c;
}

bool have_sse42() { return __builtin_cpu_supports("sse4.2") != 0; }

#else

uint32_t update_sse42(uint32_t c, const uint8_t* p, size_t n) { return update_table(c, p, n); }
bool have_sse42() { return false; }

#endif

}  // namespace crc32c_detail

uint32_t crc32c(uint32_t crc, const void* data, size_t n) {
  static const bool hardware = crc32c_detail::have_sse42();
  const auto* p = static_cast<const uint8_t*>(data);
  const uint32_t c = ~crc;
  return ~(hardware ? crc32c_detail::update_sse42(c, p, n) : crc32c_detail::update_table(c, p, n));
}

}  // namespace s3cache
