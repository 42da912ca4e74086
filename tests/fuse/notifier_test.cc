#include "fuse/notifier.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>

#include "fuse/errno.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

// A kernel that can be made to block.
class SlowKernel : public NotifySink {
 public:
  void invalidate_attributes(uint64_t nodeid) override { note("attr " + std::to_string(nodeid)); }
  void invalidate_pages(uint64_t nodeid) override { note("pages " + std::to_string(nodeid)); }
  bool directory_waits(uint64_t nodeid) override { return nodeid == busy; }
  void invalidate_entry(uint64_t parent, const std::string& name) override {
    note("entry " + std::to_string(parent) + "/" + name);
  }
  std::atomic<uint64_t> busy{0};
  void block() {
    MutexLock lock(mu_);
    blocked_ = true;
  }
  void unblock() {
    MutexLock lock(mu_);
    blocked_ = false;
    cv_.notify_all();
  }
  bool wait_for(size_t n) {
    MutexLock lock(mu_);
    for (int i = 0; i < 200 && seen_.size() < n; ++i) cv_.wait_for(mu_, std::chrono::milliseconds(50));
    return seen_.size() >= n;
  }
  std::vector<std::string> seen() {
    MutexLock lock(mu_);
    return seen_;
  }

 private:
  void note(std::string what) {
    MutexLock lock(mu_);
    seen_.push_back(std::move(what));
    cv_.notify_all();
    while (blocked_) cv_.wait(mu_);
  }
  Mutex mu_;
  CondVar cv_;
  bool blocked_ GUARDED_BY(mu_) = false;
  std::vector<std::string> seen_ GUARDED_BY(mu_);
};

}  // namespace

TEST_CASE("changes of one inode coalesce and reach every incarnation", "[notifier]") {
  SlowKernel kernel;
  Notifier n;
  n.inode_changed(1);  // before the mount: nobody to tell
  kernel.block();
  n.start(
      &kernel,
      [](uint64_t ino) {
        return std::vector<uint64_t>{ino, ino + 100};
      },
      [](uint64_t, uint64_t) {});
  n.inode_changed(5);
  REQUIRE(kernel.wait_for(1));  // the sender is stuck in the kernel now
  for (int i = 0; i < 1000; ++i) n.inode_changed(6);
  CHECK(n.unsettled(5));
  CHECK(n.unsettled(6));
  n.told(6);
  CHECK_FALSE(n.unsettled(6));
  n.inode_changed(6);  // again: what was told is old
  CHECK(n.unsettled(6));
  kernel.unblock();
  REQUIRE(kernel.wait_for(4));
  n.stop();
  CHECK(kernel.seen() == std::vector<std::string>{"attr 5", "attr 105", "attr 6", "attr 106"});
  CHECK_FALSE(n.unsettled(5));
}

TEST_CASE("names go before attributes, pages are reported back", "[notifier]") {
  SlowKernel kernel;
  Notifier n;
  std::atomic<uint64_t> dropped{0};
  kernel.block();
  n.start(
      &kernel, [](uint64_t ino) { return std::vector<uint64_t>{ino}; },
      [&](uint64_t nodeid, uint64_t stamp) { dropped = nodeid * 10 + stamp; });
  n.inode_changed(1);
  REQUIRE(kernel.wait_for(1));
  n.drop_pages(7, 3);
  n.inode_changed(8);
  n.entry_removed(1, "x");
  n.entry_removed(1, "x");
  kernel.unblock();
  REQUIRE(kernel.wait_for(4));
  n.stop();
  CHECK(kernel.seen() == std::vector<std::string>{"attr 1", "entry 1/x", "attr 8", "pages 7"});
  CHECK(dropped == 73);
}

TEST_CASE("a name in a busy directory waits, the others do not", "[notifier]") {
  SlowKernel kernel;
  Notifier n;
  kernel.busy = 3;
  n.start(
      &kernel, [](uint64_t ino) { return std::vector<uint64_t>{ino}; }, [](uint64_t, uint64_t) {});
  n.entry_removed(3, "a");
  n.entry_removed(4, "b");
  n.inode_changed(5);
  REQUIRE(kernel.wait_for(2));
  CHECK(kernel.seen() == std::vector<std::string>{"entry 4/b", "attr 5"});
  kernel.busy = 0;
  REQUIRE(kernel.wait_for(3));
  CHECK(kernel.seen()[2] == "entry 3/a");
  n.stop();
}

TEST_CASE("every code has an errno, and none is one the kernel takes as a switch", "[errno]") {
  for (int i = 0; i <= static_cast<int>(Code::kTooBig); ++i) {
    const Code c = static_cast<Code>(i);
    INFO(code_name(c));
    for (int e : {to_errno(c), to_inode_errno(c), to_xattr_errno(c)}) {
      CHECK(e > 0);
      CHECK(e != ENOSYS);
    }
  }
  CHECK(to_errno(Code::kNotFound) == ENOENT);
  CHECK(to_inode_errno(Code::kNotFound) == ESTALE);
  CHECK(to_xattr_errno(Code::kNotFound) == ENODATA);
  CHECK(to_inode_errno(Code::kStale) == ESTALE);
  CHECK(to_errno(Code::kReadOnly) == EROFS);
  CHECK(to_errno(Code::kTooBig) == EFBIG);
  CHECK(to_errno(Code::kExists) == EEXIST);
}
