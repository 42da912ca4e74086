// A temporary folder that goes with its owner, and a CacheDir in it. Threads: one.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/log.h"
#include "cache/cache_dir.h"

namespace s3cache::cache {

class TempDir {
 public:
  TempDir() {
    log::set_level(log::Level::kError);  // the lines that open() writes are expected here
    std::string pattern = std::filesystem::temp_directory_path() / "s3cache-test-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline CacheDirOptions dir_options(const std::string& root) {
  CacheDirOptions o;
  o.root = root;
  o.identity = "http://127.0.0.1:9000\ndata\nprefix";
  o.bucket = "data";
  o.ballast_bytes = 0;
  return o;
}

inline std::unique_ptr<CacheDir> open_dir(const std::string& root) {
  auto dir = CacheDir::open(dir_options(root));
  if (!dir.ok()) FAIL(dir.error().message);
  return std::move(*dir);
}

inline std::vector<std::byte> random_bytes(size_t n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<std::byte> out(n);
  std::generate(out.begin(), out.end(), [&] { return static_cast<std::byte>(rng()); });
  return out;
}

}  // namespace s3cache::cache
