#include "core/sync_wait.h"

#include <utility>

#include "base/sync.h"
#include "core/change_context.h"

namespace s3cache::core {

namespace {
// Who waits in front of a terminal wants to go on soon after the server is back, not a back-off of a minute
// later.
constexpr int64_t kRetryMs = 1'000;
}  // namespace

struct SyncWait::Answer {
  Mutex mu;
  std::optional<Status> status GUARDED_BY(mu);
};

SyncWait::SyncWait(Filesystem& fs, const Clock& clock, std::function<void()> woken)
    : fs_(fs), clock_(clock), woken_(std::move(woken)) {
  ask();
}

void SyncWait::ask() {
  answer_ = std::make_shared<Answer>();
  next_ms_ = clock_.mono_ms() + kRetryMs;
  fs_.sync_all([answer = answer_, woken = woken_](const Status& status) {
    {
      MutexLock lock(answer->mu);
      answer->status = status;
    }
    woken();
  });
}

std::optional<Status> SyncWait::step() {
  const bool due = clock_.mono_ms() >= next_ms_;
  if (!answer_) {
    if (due) ask();
    return std::nullopt;
  }
  std::optional<Status> status;
  {
    MutexLock lock(answer_->mu);
    status = answer_->status;
  }
  if (status) {
    if (status->ok() || !worth_repeating(status->code())) return status;
    answer_ = nullptr;
    next_ms_ = clock_.mono_ms() + kRetryMs;
  } else if (due) {
    next_ms_ = clock_.mono_ms() + kRetryMs;
    fs_.retry_now();
  }
  return std::nullopt;
}

}  // namespace s3cache::core
