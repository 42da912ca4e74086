#include "base/log.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace s3cache;

namespace {

std::string slurp(const std::string& path) {
  std::ifstream f(path);
  std::stringstream s;
  s << f.rdbuf();
  return s.str();
}

struct TempDir {
  TempDir() {
    char name[] = "/tmp/s3cache-log-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() {
    CHECK(log::init({}).ok());
    std::filesystem::remove_all(path);
  }
  std::string path;
};

}  // namespace

TEST_CASE("secrets are masked to four bytes at most") {
  CHECK(log::mask("AKIAIOSFODNN7EXAMPLE") == "AKIA****");
  CHECK(log::mask("hunter2") == "****");
  CHECK(log::mask("") == "****");
}

TEST_CASE("levels below the threshold are not written") {
  TempDir dir;
  const std::string file = dir.path + "/log";
  REQUIRE(log::init({.level = log::Level::kWarn,
                     .sink = log::Sink::kFile,
                     .file = file,
                     .ident = "t",
                     .timestamps = false})
              .ok());
  log::info("unseen {}", 1);
  log::warn("seen {}", 2);
  log::set_level(log::Level::kDebug);
  log::debug("seen {}", 3);
  log::set_level(log::Level::kSilent);
  log::critical("unseen {}", 4);
  CHECK(slurp(file) == "[warning] seen 2\n[debug] seen 3\n");
}

TEST_CASE("a key cannot forge a line of the log") {
  TempDir dir;
  const std::string file = dir.path + "/log";
  REQUIRE(log::init({.level = log::Level::kWarn,
                     .sink = log::Sink::kFile,
                     .file = file,
                     .ident = "",
                     .timestamps = false})
              .ok());
  log::warn("key {}", "a\n[error] b\x1b[0m\xc3\xa9");
  CHECK(slurp(file) == "[warning] key a\\x0a[error] b\\x1b[0m\xc3\xa9\n");
}

TEST_CASE("reopen follows log rotation") {
  TempDir dir;
  const std::string file = dir.path + "/log";
  REQUIRE(log::init({.level = log::Level::kWarn,
                     .sink = log::Sink::kFile,
                     .file = file,
                     .ident = "",
                     .timestamps = false})
              .ok());
  log::warn("one");
  REQUIRE(std::rename(file.c_str(), (file + ".1").c_str()) == 0);
  log::warn("two");
  REQUIRE(log::reopen().ok());
  log::warn("three");
  CHECK(slurp(file + ".1") == "[warning] one\n[warning] two\n");
  CHECK(slurp(file) == "[warning] three\n");
}

TEST_CASE("a log file that cannot be opened is an error that names it") {
  log::Options options;
  options.sink = log::Sink::kFile;
  options.file = "/proc/nowhere/log";
  const auto s = log::init(options);
  REQUIRE_FALSE(s.ok());
  CHECK(s.error().message.find("/proc/nowhere/log") != std::string::npos);
}
