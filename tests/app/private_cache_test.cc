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

PrivateCache::Options of(const TempDir& tmp) {
  return {tmp.path, "bucket-1", [](const std::string&) { return false; }};
}

}  // namespace

TEST_CASE("a private cache is this user's alone and goes with its owner, unless it is kept") {
  TempDir tmp;
  const bool keep = GENERATE(false, true);
  std::string path;
  {
    auto cache = PrivateCache::create(of(tmp));
    REQUIRE(cache.ok());
    path = (*cache)->path();
    struct stat st {};
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == 0700);
    std::ofstream(path + "/data") << "x";
    if (keep) (*cache)->keep();
  }
  CHECK(fs::exists(path) == keep);
}

TEST_CASE("what a killed mount left is removed, what is in use, young, or holds changes stays") {
  TempDir tmp;
  const std::string left = tmp.path + "/s3cache-private-left01";
  const std::string owing = tmp.path + "/s3cache-private-owing1";
  const std::string other = tmp.path + "/something-else";
  const std::string target = tmp.path + "/target";
  for (const std::string& folder : {left, owing, other, target})
    fs::create_directories(folder + "/other-bucket");
  std::ofstream(left + "/data") << "x";
  fs::create_directory_symlink(target, tmp.path + "/s3cache-private-link01");
  auto first = PrivateCache::create(of(tmp));
  REQUIRE(first.ok());
  CHECK(fs::exists(left));  // younger than a minute

  PrivateCache::Options options = of(tmp);
  options.min_age_s = 0;
  options.unsaved = [&](const std::string& folder) { return folder == owing + "/other-bucket"; };
  auto second = PrivateCache::create(options);
  REQUIRE(second.ok());
  CHECK_FALSE(fs::exists(left));
  CHECK(fs::exists(owing));
  CHECK(fs::exists((*first)->path()));
  CHECK(fs::exists(other));
  CHECK(fs::exists(target));
  CHECK(fs::is_symlink(tmp.path + "/s3cache-private-link01"));  // not ours to follow or to remove
}

TEST_CASE("the next mount of the same bucket goes on with what a killed one left, once") {
  TempDir tmp;
  const std::string left = tmp.path + "/s3cache-private-left01";
  fs::create_directories(left + "/bucket-1");
  auto first = PrivateCache::create(of(tmp));
  REQUIRE(first.ok());
  CHECK((*first)->path() == left);
  auto second = PrivateCache::create(of(tmp));
  REQUIRE(second.ok());
  CHECK((*second)->path() != left);
}

TEST_CASE("a tmpdir that cannot be used is named, with the way out") {
  const auto absent = PrivateCache::create({"/nonexistent", "bucket-1", {}});
  REQUIRE(absent.is(Code::kNotFound));
  CHECK(absent.error().message ==
        "private cache in tmpdir /nonexistent: No such file or directory: create the folder or use another "
        "tmpdir");
}
