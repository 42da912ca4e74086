// A folder of the test's own, gone with it. Threads: one.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace s3cache::ctl {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/s3cache-ctl-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

}  // namespace s3cache::ctl
