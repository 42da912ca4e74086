// Shared by the tests of meta: a temporary folder, seeds that are printed, short record helpers.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>

#include "base/bytes.h"
#include "base/log.h"
#include "meta/lmdb_store.h"
#include "meta/meta_store.h"

namespace s3cache::meta {

// Failed commits are what these tests are about; S3CACHE_TEST_LOG shows what the store says to them.
inline const bool kQuiet = [] {
  if (std::getenv("S3CACHE_TEST_LOG") == nullptr) log::set_level(log::Level::kSilent);
  return true;
}();

class TempDir {
 public:
  TempDir() {
    std::string t = (std::filesystem::temp_directory_path() / "s3cache-meta-XXXXXX").string();
    if (::mkdtemp(t.data()) == nullptr) std::abort();
    path_ = t;
  }
  ~TempDir() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string file(const std::string& name = "meta.mdb") const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A fresh seed, or S3CACHE_TEST_SEED to repeat a failure.
inline uint64_t test_seed() {
  const char* given = std::getenv("S3CACHE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

inline std::unique_ptr<MetaStore> open_store(const std::string& path, LmdbEnv::Fault fault = nullptr,
                                             size_t map_bytes = 1 << 30) {
  Options o;
  o.path = path;
  o.initial_map_bytes = map_bytes;
  o.check_records = false;  // these tests store anything
  auto s = LmdbStore::open(o, std::move(fault));
  INFO((s.ok() ? std::string() : s.error().message));
  REQUIRE(s.ok());
  return std::move(*s);
}

inline Batch one(Table t, std::string key, std::string value) {
  Batch b;
  b.put(t, std::move(key), std::move(value));
  return b;
}

inline std::string must_get(MetaStore& s, Table t, std::string_view key) {
  auto r = s.get(t, key);
  REQUIRE(r.ok());
  return r->value_or("(none)");
}

}  // namespace s3cache::meta
