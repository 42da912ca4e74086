// SyncWait: everything that was written gets to S3, tried again as long as that may help.
//
// Its owner calls step() now and then, and at once when `woken` was called. Threads: step() on one thread;
// `woken` runs on any. It may go away at any time; uploads go on without it. Borrows the file system. Errors:
// of an upload that trying again does not cure. Units: ms.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "core/filesystem.h"

namespace s3cache::core {

class SyncWait {
 public:
  static constexpr int64_t kStepMs = 250;

  SyncWait(Filesystem& fs, const Clock& clock, std::function<void()> woken);
  // nullopt: not yet.
  std::optional<Status> step();

 private:
  struct Answer;
  void ask();

  Filesystem& fs_;
  const Clock& clock_;
  const std::function<void()> woken_;
  std::shared_ptr<Answer> answer_;  // null: between two tries
  int64_t next_ms_ = 0;             // when the next try, or the next nudge, is due
};

}  // namespace s3cache::core
