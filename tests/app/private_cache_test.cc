#include "app/private_cache.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using namespace s3cache;
using app::PrivateCache;
namespace fs = std::filesystem;

namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/s3cache-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { fs::remove_all(path); }
  std::string path;
};

}  // namespace

TEST_CASE("a private cache is this user's alone and goes with its owner") {
  TempDir tmp;
  std::string path;
  {
    auto cache = PrivateCache::create(tmp.path);
    REQUIRE(cache.ok());
    path = (*cache)->path();
    struct stat st {};
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == 0700);
    std::ofstream(path + "/data") << "x";
  }
  CHECK_FALSE(fs::exists(path));
  CHECK(fs::is_empty(tmp.path));
}

TEST_CASE("what a killed mount left is removed, what is in use or young stays") {
  TempDir tmp;
  const std::string left = tmp.path + "/s3cache-private-left01";
  const std::string other = tmp.path + "/something-else";
  const std::string target = tmp.path + "/target";
  for (const std::string& folder : {left, other, target}) fs::create_directory(folder);
  std::ofstream(left + "/data") << "x";
  fs::create_directory_symlink(target, tmp.path + "/s3cache-private-link01");
  auto first = PrivateCache::create(tmp.path);
  REQUIRE(first.ok());
  CHECK(fs::exists(left));  // younger than a minute

  auto second = PrivateCache::create(tmp.path, 0);
  REQUIRE(second.ok());
  CHECK_FALSE(fs::exists(left));
  CHECK(fs::exists((*first)->path()));
  CHECK(fs::exists(other));
  CHECK(fs::exists(target));
  CHECK(fs::is_symlink(tmp.path + "/s3cache-private-link01"));  // not ours to follow or to remove
}

TEST_CASE("a tmpdir that cannot be used is named, with the way out") {
  const auto absent = PrivateCache::create("/nonexistent");
  REQUIRE(absent.is(Code::kNotFound));
  CHECK(absent.error().message ==
        "private cache in tmpdir /nonexistent: No such file or directory: create the folder or use another "
        "tmpdir");
}
