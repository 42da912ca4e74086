#include "base/crc32c_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <array>

namespace s3cache::crc32c_detail {

namespace {

// The crc32 instruction has a latency of 3 and a throughput of 1, so three independent streams keep it busy.
// A stride of 256 reads 21 GB/s from memory as from L2; one of 4096 28 from L2, but 13 from memory, whose
// prefetchers do not follow three streams (EPYC, 2026).
constexpr size_t kStride = 256;

// Advancing a register over kStride zero bytes is linear, hence the xor of four table look-ups, one a byte.
class ZeroShift {
 public:
  ZeroShift() {
    std::array<uint32_t, 32> bit{};
    const std::array<uint8_t, kStride> zero{};
    for (size_t i = 0; i < 32; ++i) bit[i] = update_table(uint32_t{1} << i, zero.data(), zero.size());
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

// Two constants move 128 bits of the message forward by `bits`: x^(bits+32) and x^(bits-32) mod P, reversed
// and shifted by one, as V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction", Intel 2009, has them for reversed polynomials.
struct Fold {
  explicit Fold(int bits) : low(power(bits + 32)), high(power(bits - 32)) {}
  long long low, high;  // as the intrinsics take them

 private:
  static long long power(int n) {
    uint32_t r = 0x80000000;  // 1
    for (; n > 0; --n) r = (r & 1) != 0 ? r >> 1 ^ kPoly : r >> 1;
    return static_cast<long long>(uint64_t{r} << 1);
  }
};

#define S3CACHE_VPCLMUL __attribute__((target("avx512f,vpclmulqdq")))

S3CACHE_VPCLMUL __m512i wide(const Fold& by) {
  return _mm512_set_epi64(by.high, by.low, by.high, by.low, by.high, by.low, by.high, by.low);
}

S3CACHE_VPCLMUL __m512i fold(__m512i x, __m512i by, __m512i next) {
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, by, 0x00),
                                   _mm512_clmulepi64_epi128(x, by, 0x11), next, kXorOfThree);
}

S3CACHE_VPCLMUL __m512i load512(const uint8_t* p) { return _mm512_loadu_si512(p); }

}  // namespace

__attribute__((target("sse4.2"))) uint32_t update_sse42(uint32_t c, const uint8_t* p, size_t n) {
  static const ZeroShift shift;
  for (; n >= 3 * kStride; n -= 3 * kStride, p += 3 * kStride) c = three_streams(c, p, shift);
  uint64_t v = c;
  for (; n >= 8; n -= 8, p += 8) v = _mm_crc32_u64(v, load64(p));
  c = static_cast<uint32_t>(v);
  for (; n > 0; --n) c = _mm_crc32_u8(c, *p++);
  return c;
}

S3CACHE_VPCLMUL uint32_t update_vpclmul(uint32_t c, const uint8_t* p, size_t n) {
  static const Fold by_256(2048), by_64(512);
  constexpr size_t kRound = 256;
  if (n < 2 * kRound) return update_sse42(c, p, n);
  __m512i a = _mm512_xor_si512(load512(p), _mm512_maskz_set1_epi32(1, static_cast<int>(c)));
  __m512i b = load512(p + 64), d = load512(p + 128), e = load512(p + 192);
  __m512i by = wide(by_256);
  for (p += kRound, n -= kRound; n >= kRound; p += kRound, n -= kRound) {
    a = fold(a, by, load512(p));
    b = fold(b, by, load512(p + 64));
    d = fold(d, by, load512(p + 128));
    e = fold(e, by, load512(p + 192));
  }
  by = wide(by_64);
  e = fold(fold(fold(a, by, b), by, d), by, e);
  // The message so far has the CRC of these 64 bytes, which hold the register.
  alignas(64) std::array<uint8_t, 64> folded;
  _mm512_store_si512(folded.data(), e);
  return update_sse42(update_sse42(0, folded.data(), folded.size()), p, n);
}

bool have_sse42() { return __builtin_cpu_supports("sse4.2") != 0; }
bool have_vpclmul() {
  return have_sse42() && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("vpclmulqdq") != 0;
}

}  // namespace s3cache::crc32c_detail

#else

namespace s3cache::crc32c_detail {

uint32_t update_sse42(uint32_t c, const uint8_t* p, size_t n) { return update_table(c, p, n); }
uint32_t update_vpclmul(uint32_t c, const uint8_t* p, size_t n) { return update_table(c, p, n); }
bool have_sse42() { return false; }
bool have_vpclmul() { return false; }

}  // namespace s3cache::crc32c_detail

#endif
