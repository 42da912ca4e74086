#include "base/encoding.h"

#include <catch2/catch.hpp>
#include <random>

using namespace s3cache;

namespace {

std::string random_bytes(std::mt19937& rng, size_t max) {
  std::string s(rng() % (max + 1), '\0');
  for (char& c : s) c = static_cast<char>(rng());
  return s;
}

}  // namespace

TEST_CASE("percent encoding keeps the unreserved characters only") {
  CHECK(percent_encode("azAZ09-._~", false) == "azAZ09-._~");
  CHECK(percent_encode("a/b c", true) == "a/b%20c");
  CHECK(percent_encode("a/b+c=&%", false) == "a%2Fb%2Bc%3D%26%25");
  CHECK(percent_encode("\xc3\xa9", false) == "%C3%A9");
  CHECK(percent_encode(std::string("\0", 1), false) == "%00");
}

TEST_CASE("percent decoding") {
  CHECK(percent_decode("a%2Fb%2fc", false) == "a/b/c");
  CHECK(percent_decode("a+b", false) == "a+b");
  CHECK(percent_decode("a+b", true) == "a b");
  CHECK(percent_decode("%00", false) == std::string("\0", 1));
  CHECK_FALSE(percent_decode("%", false));
  CHECK_FALSE(percent_decode("%2", false));
  CHECK_FALSE(percent_decode("%2x", false));
}

TEST_CASE("base64 vectors of RFC 4648") {
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, text] : vectors) {
    CHECK(base64_encode(plain) == text);
    CHECK(base64_decode(text) == plain);
  }
  for (const char* bad :
       {"Z", "Zg=", "Zg", "Z===", "====", "Zg==Zg==", "Zh==", "Zm9=", "Zm 9", "Z\xff==", "=AAA"})
    CHECK_FALSE(base64_decode(bad));
}

TEST_CASE("hex") {
  CHECK(hex_encode(std::string("\x00\xff\x0a", 3)) == "00ff0a");
  CHECK(hex_decode("00FF0a") == std::string("\x00\xff\x0a", 3));
  CHECK_FALSE(hex_decode("0"));
  CHECK_FALSE(hex_decode("0g"));
}

TEST_CASE("every encoding gives its bytes back") {
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 rng(seed);
  for (int i = 0; i < 2000; ++i) {
    const std::string s = random_bytes(rng, 100);
    REQUIRE(percent_decode(percent_encode(s, false), true) == s);
    REQUIRE(percent_decode(percent_encode(s, true), true) == s);
    REQUIRE(hex_decode(hex_encode(s)) == s);
    REQUIRE(base64_decode(base64_encode(s)) == s);
  }
}
