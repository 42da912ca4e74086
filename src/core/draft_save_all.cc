// Everything that S3 lacks: on request (sync, unmount), and again after a failure.
#include <chrono>
#include <utility>

#include "base/log.h"
#include "core/draft_table.h"

namespace s3cache::core {

namespace {
constexpr auto kTick = std::chrono::milliseconds(500);
}  // namespace

void DraftTable::save_all(Callback<void> done) {
  std::vector<std::shared_ptr<Draft>> all;
  {
    MutexLock lock(mu_);
    for (const auto& [ino, draft] : drafts_) all.push_back(draft);
  }
  struct Join {
    std::atomic<size_t> left{1};
    Mutex mu;
    Status status GUARDED_BY(mu);
    Callback<void> done;
  };
  auto join = std::make_shared<Join>();
  join->done = std::move(done);
  const auto one = [join](const Status& saved) {
    if (!saved.ok()) {
      MutexLock lock(join->mu);
      join->status = saved;
    }
    if (join->left.fetch_sub(1) != 1) return;
    Status status;
    {
      MutexLock lock(join->mu);
      status = join->status;
    }
    join->done(status);
  };
  for (const auto& draft : all) {
    if (!draft->dirty() || draft->unlinked()) continue;
    ++join->left;
    upload(draft, one);
  }
  one({});
}

void DraftTable::retry_now() {
  MutexLock lock(mu_);
  for (const auto& [ino, draft] : drafts_) draft->retry_at_ms = 0;
  wake_.notify_all();
}

void DraftTable::report(Stats& stats) {
  std::vector<std::shared_ptr<Draft>> all;
  {
    MutexLock lock(mu_);
    for (const auto& [ino, draft] : drafts_) {
      if (draft->unlinked() || !draft->dirty()) continue;
      all.push_back(draft);
      if (draft->trouble) take_later(stats.trouble, *draft->trouble);
    }
  }
  stats.dirty_files += all.size();
  for (const auto& draft : all) {
    stats.dirty_bytes += draft->unsent_bytes();
    if (draft->saving || draft->session().flying() > 0) ++stats.uploads;
  }
}

void DraftTable::retry_loop() {
  MutexLock lock(mu_);
  while (!stopping_) {
    wake_.wait_for(mu_, kTick);
    std::vector<std::shared_ptr<Draft>> due;
    for (const auto& [ino, draft] : drafts_) {
      const bool wanted = draft->failures > 0 && !draft->saving && !draft->unlinked() && draft->dirty();
      if (wanted && clock_.mono_ms() >= draft->retry_at_ms) due.push_back(draft);
    }
    lock.unlock();
    relieve();  // handles that closed made room, too
    for (const auto& draft : due)
      upload(draft, [](const Status& saved) {
        if (!saved.ok()) log::warn("upload: {}; it will be tried again", saved.error().message);
      });
    due.clear();
    lock.lock();
  }
}

}  // namespace s3cache::core
