#include "base/crc32c.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c_impl.h"

using namespace s3cache;

namespace {

uint32_t crc_of(const std::string& s) { return crc32c(0, s.data(), s.size()); }

}  // namespace

TEST_CASE("CRC32C vectors of RFC 3720 B.4") {
  CHECK(crc_of("123456789") == 0xE3069283);
  CHECK(crc_of("") == 0);
  CHECK(crc_of(std::string(32, '\0')) == 0x8A9136AA);
  CHECK(crc_of(std::string(32, '\xff')) == 0x62A8AB43);
  std::string up(32, '\0');
  for (size_t i = 0; i < up.size(); ++i) up[i] = static_cast<char>(i);
  CHECK(crc_of(up) == 0x46DD794E);
  CHECK(crc_of(std::string(up.rbegin(), up.rend())) == 0x113FDB5C);
}

TEST_CASE("CRC32C: hardware, table and any split agree") {
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 rng(seed);
  std::vector<uint8_t> data(64 * 1024 + 64);
  for (uint8_t& b : data) b = static_cast<uint8_t>(rng());
  for (int i = 0; i < 500; ++i) {
    const size_t from = rng() % 32;
    const size_t n = i % 2 == 0 ? rng() % 1024 : rng() % (data.size() - from);
    const uint8_t* p = data.data() + from;
    const auto start = static_cast<uint32_t>(rng());
    if (crc32c_detail::have_sse42())
      REQUIRE(crc32c_detail::update_sse42(start, p, n) == crc32c_detail::update_table(start, p, n));
    if (crc32c_detail::have_vpclmul())
      REQUIRE(crc32c_detail::update_vpclmul(start, p, n) == crc32c_detail::update_table(start, p, n));
    const size_t cut = n == 0 ? 0 : rng() % n;
    REQUIRE(crc32c(crc32c(start, p, cut), p + cut, n - cut) == crc32c(start, p, n));
  }
}

TEST_CASE("CRC32C sees every flipped bit") {
  std::string s(16 * 1024, 'x');
  const uint32_t before = crc_of(s);
  for (size_t i = 0; i < s.size(); i += 97) {
    s[i] = static_cast<char>(s[i] ^ 4);
    REQUIRE(crc_of(s) != before);
    s[i] = static_cast<char>(s[i] ^ 4);
  }
}

TEST_CASE("CRC32C speed", "[.bench]") {
  const std::string s(64 * 1024, 'x');
  uint32_t c = 0;
  const auto t0 = std::chrono::steady_clock::now();
  constexpr int kRounds = 100'000;
  for (int i = 0; i < kRounds; ++i) c = crc32c(c, s.data(), s.size());
  const std::chrono::duration<double> d = std::chrono::steady_clock::now() - t0;
  WARN("GB/s " << static_cast<double>(s.size()) * kRounds / d.count() / 1e9 << ' ' << c);
}
