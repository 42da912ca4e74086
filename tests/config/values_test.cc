#include "config/values.h"

#include <catch2/catch.hpp>
#include <limits>

using namespace s3cache::config;

TEST_CASE("numbers are read whole or not at all") {
  CHECK(parse_int("64") == 64);
  CHECK(parse_int("-1") == -1);
  CHECK(parse_int("+7") == 7);
  for (const char* bad :
       {"", "abc", "12x", " 12", "1.5", "0x10", "-", "--1", "+-1", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_int(bad).has_value());
  }
}

TEST_CASE("sizes count in the option's unit unless they carry a suffix") {
  CHECK(parse_size("10", 1) == 10);
  CHECK(parse_size("10", 1 << 20) == 10 << 20);
  CHECK(parse_size("64k", 1 << 20) == 64 << 10);
  CHECK(parse_size("64K", 1) == 64 << 10);
  CHECK(parse_size("3MB", 1) == 3 << 20);
  CHECK(parse_size("3MiB", 1) == 3 << 20);
  CHECK(parse_size("2GiB", 1) == int64_t{2} << 30);
  CHECK(parse_size("1T", 1) == int64_t{1} << 40);
  CHECK(parse_size("1p", 1) == int64_t{1} << 50);
  for (const char* bad : {"", "M", "-1", "1X", "1KK", "1 K", "1.5G", "9999999999T", "1GiBB"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_size(bad, 1).has_value());
  }
  CHECK_FALSE(parse_size("9223372036854775807", 1 << 20).has_value());
}

TEST_CASE("format_size is what parse_size reads") {
  CHECK(format_size(int64_t{10} << 30) == "10G");
  CHECK(format_size(1000) == "1000");
  CHECK(format_size(0) == "0");
  for (const int64_t n : {int64_t{1}, int64_t{1024}, int64_t{5} << 20, std::numeric_limits<int64_t>::max()}) {
    CHECK(parse_size(format_size(n), 1) == n);
  }
}

TEST_CASE("durations and octal numbers") {
  CHECK(parse_duration("900") == 900);
  CHECK(parse_duration("15m") == 900);
  CHECK(parse_duration("2d") == 172800);
  CHECK_FALSE(parse_duration("15min").has_value());
  CHECK_FALSE(parse_duration("-5").has_value());
  CHECK(parse_octal("022") == 022);
  CHECK(parse_octal("777") == 0777);
  CHECK_FALSE(parse_octal("888").has_value());
  CHECK_FALSE(parse_octal("1000").has_value());
  CHECK_FALSE(parse_octal("-1").has_value());
}

TEST_CASE("users and groups by number or name") {
  CHECK(user_id("1000") == 1000);
  CHECK(user_id("root") == 0);
  CHECK(group_id("root") == 0);
  CHECK_FALSE(user_id("no-such-user").has_value());
  CHECK_FALSE(user_id("-1").has_value());
  CHECK_FALSE(user_id("4294967295").has_value());
}

TEST_CASE("edit distance counts a swap as one slip") {
  CHECK(edit_distance("url", "url") == 0);
  CHECK(edit_distance("ulr", "url") == 1);
  CHECK(edit_distance("use_cach", "use_cache") == 1);
  CHECK(edit_distance("", "abc") == 3);
}
