// A file system that owes S3 what a test says, and saves it when the test says so. Threads: any.
#pragma once

#include <utility>
#include <vector>

#include "base/sync.h"
#include "core/filesystem.h"

namespace s3cache::ctl {

class FakeCore : public core::Filesystem {
 public:
  core::Namespace& names() override { std::abort(); }
  void open(core::Caller, uint64_t, OpenFlags, core::Callback<std::shared_ptr<core::OpenFile>>) override {}
  void read(std::shared_ptr<core::OpenFile>, int64_t, size_t, core::Callback<core::ReadReply>) override {}
  core::FsStat statfs() override { return {}; }
  void getxattr(uint64_t, std::string, core::Callback<std::string>) override {}
  void listxattr(uint64_t, core::Callback<std::vector<std::string>>) override {}

  core::Stats stats() override {
    MutexLock lock(mu_);
    return stats_;
  }
  void sync_all(core::Callback<void> done) override {
    MutexLock lock(mu_);
    waiting_.push_back(std::move(done));
    ++syncs_;
  }
  void retry_now() override { ++nudges; }

  void set_stats(core::Stats stats) {
    MutexLock lock(mu_);
    stats_ = std::move(stats);
  }
  int syncs() {
    MutexLock lock(mu_);
    return syncs_;
  }
  void end_syncs(const Status& status) {
    std::vector<core::Callback<void>> all;
    {
      MutexLock lock(mu_);
      all.swap(waiting_);
    }
    for (const auto& done : all) done(status);
  }

  std::atomic<int> nudges{0};

 private:
  Mutex mu_;
  core::Stats stats_ GUARDED_BY(mu_);
  std::vector<core::Callback<void>> waiting_ GUARDED_BY(mu_);
  int syncs_ GUARDED_BY(mu_) = 0;
};

}  // namespace s3cache::ctl
