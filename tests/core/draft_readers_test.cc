// Handles that only read, beside a file that others change.
#include <catch2/catch.hpp>

#include "core/draft_fixture.h"

using namespace s3cache;
using namespace s3cache::core;

TEST_CASE_METHOD(DraftFixture, "fsync of a handle that only reads saves what others wrote") {
  put("f", std::string(5000, 'o'));
  auto reader = open("f");
  REQUIRE(reader.ok());
  auto writer = open_to_write("f");
  REQUIRE(write(writer, 0, "new").ok());
  CHECK(object("f").substr(0, 3) == "ooo");
  REQUIRE(fsync(*reader).ok());
  CHECK(object("f").substr(0, 3) == "new");
}
