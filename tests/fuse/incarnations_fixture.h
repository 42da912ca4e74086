// Incarnations over stub files, with what its hooks were asked. Threads: the hooks from any.
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "fuse/incarnations.h"

namespace s3cache::fuse {

class StubFile : public core::OpenFile {
 public:
  StubFile(uint64_t ino, uint64_t version, bool sealed, bool writable = false)
      : ino_(ino), version_(version), sealed_(sealed), writable_(writable) {
    ++alive;
  }
  ~StubFile() override { --alive; }
  uint64_t ino() const override { return ino_; }
  uint64_t version() const override { return version_; }
  core::Attr attr() const override {
    core::Attr a;
    a.ino = ino_;
    a.size = static_cast<int64_t>(version_);
    return a;
  }
  bool sealed() const override { return sealed_; }
  bool writable() const override { return writable_; }
  Result<int> backing_fd() override { return Error{Code::kUnsupported, "stub"}; }
  static inline std::atomic<int> alive{0};

 private:
  const uint64_t ino_, version_;
  const bool sealed_, writable_;
};

struct IncarnationsFixture {
  std::atomic<uint64_t> next{1000};
  Mutex mu;
  std::vector<std::pair<uint64_t, uint64_t>> drops;  // nodeid, stamp
  std::vector<uint64_t> stale;                       // attributes
  Incarnations table;
  explicit IncarnationsFixture(size_t page_records = 64 * 100, std::chrono::milliseconds reservation = {})
      : table([this]() -> Result<uint64_t> { return ++next; },
              [this](uint64_t nodeid, uint64_t stamp) {
                MutexLock lock(mu);
                drops.emplace_back(nodeid, stamp);
              },
              [this](uint64_t nodeid) {
                MutexLock lock(mu);
                stale.push_back(nodeid);
              },
              page_records, reservation) {}

  Incarnations::Grant open(
      uint64_t nodeid, uint64_t version, bool sealed, std::function<void()> again = [] {}) {
    return table.open(nodeid, std::make_shared<StubFile>(table.ino_of(nodeid), version, sealed),
                      Incarnations::Io::kAny, again);
  }
  Incarnations::Grant open_writer(uint64_t nodeid, uint64_t version) {
    return table.open(nodeid, std::make_shared<StubFile>(table.ino_of(nodeid), version, false, true),
                      Incarnations::Io::kAny, [] {});
  }
  Handle* open_passthrough(uint64_t nodeid, uint64_t version, int32_t id) {
    auto g = open(nodeid, version, true);
    REQUIRE(g.verdict == Verdict::kRegister);
    table.registered(g.handle, id);
    return g.handle;
  }
};

}  // namespace s3cache::fuse
