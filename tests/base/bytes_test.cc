#include "base/bytes.h"

#include <catch2/catch.hpp>

#include "base/result.h"

using namespace s3cache;

TEST_CASE("integers are big-endian and come back") {
  std::string s;
  put_u8(s, 0x01);
  put_u16(s, 0x0203);
  put_u32(s, 0x04050607);
  put_u64(s, 0x08090a0b0c0d0e0f);
  put_bytes16(s, "key");
  for (size_t i = 0; i < 15; ++i) CHECK(s[i] == static_cast<char>(i + 1));
  ByteReader r(s);
  CHECK(r.u8() == 0x01);
  CHECK(r.u16() == 0x0203);
  CHECK(r.u32() == 0x04050607);
  CHECK(r.u64() == 0x08090a0b0c0d0e0f);
  CHECK(r.bytes16() == "key");
  CHECK(r.at_end());
  CHECK_FALSE(r.failed());
}

TEST_CASE("be64 sorts as its number does") {
  CHECK(be64(255) < be64(256));
  CHECK(be64(1) < be64(uint64_t{1} << 63));
  CHECK(read_be64(be64(0xfffffffffffffffe)) == 0xfffffffffffffffe);
}

TEST_CASE("a record cut short fails and yields zeros") {
  std::string whole;
  put_u64(whole, ~uint64_t{0});
  put_bytes16(whole, "abcdef");
  for (size_t n = 0; n < whole.size(); ++n) {
    ByteReader r(std::string_view(whole).substr(0, n));
    const uint64_t v = r.u64();
    const auto b = r.bytes16();
    CHECK(r.failed());
    CHECK((v == 0 || n >= 8));
    CHECK(b.empty());
    CHECK(r.u32() == 0);
  }
}

TEST_CASE("Result carries a value or an error") {
  Result<int> good = 4;
  CHECK(good.ok());
  CHECK(*good == 4);
  Result<int> bad = Error{Code::kStale, "x moved"};
  CHECK_FALSE(bad.ok());
  CHECK(bad.is(Code::kStale));
  CHECK_FALSE(good.is(Code::kStale));
  Status fine;
  CHECK(fine.ok());
  Status failed = errno_error(ENOSPC, "write /x");
  CHECK(failed.is(Code::kNoSpace));
  CHECK(failed.error().message == "write /x: No space left on device");
  CHECK(std::string(code_name(Code::kNewerFormat)) == "newer-format");
}
