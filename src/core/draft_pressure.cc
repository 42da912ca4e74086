// A full cache: writes wait while unsaved files go up and become files that may be evicted.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "core/change_context.h"
#include "core/draft_table.h"

namespace s3cache::core {

namespace {
// Saved at the same time to make room: one would leave the line idle between requests; all of them would send
// files half written that could have waited for their close.
constexpr size_t kTogether = 4;
// Nothing was sent and no write found room for so long: the writers hear of it. A server that is gone for a
// minute or two costs them patience, not an error.
constexpr int64_t kPatienceMs = 300'000;
}  // namespace

void DraftTable::write(std::shared_ptr<void> file, const std::shared_ptr<Draft>& draft,
                       std::optional<int64_t> offset, std::span<const std::byte> data,
                       Callback<size_t> done) {
  const bool queue = !waiting_.empty();
  auto written = queue ? Result<size_t>(Error{Code::kNoSpace, ""}) : write_now(draft, offset, data);
  if (!written.is(Code::kNoSpace)) return done(written);
  if (!queue) room_at_ms_ = clock_.mono_ms();
  WaitingWrite write{std::move(file), draft, offset, {data.begin(), data.end()}, std::move(done)};
  if (!waiting_.add(write)) return write.done(Error{Code::kNoSpace, "too many writes wait for room already"});
  relieve();
}

Result<size_t> DraftTable::write_now(const std::shared_ptr<Draft>& draft, std::optional<int64_t> offset,
                                     std::span<const std::byte> data) {
  return offset ? write(draft, *offset, data) : append(draft, data);
}

void DraftTable::relieve() {
  if (waiting_.empty()) return;
  workers_.post([this] {
    if (!waiting_.begin_serving()) return;
    do {
      serve_waiting();
    } while (!waiting_.end_serving());
  });
}

void DraftTable::serve_waiting() {
  while (WaitingWrite* first = waiting_.front()) {
    auto written = write_now(first->draft, first->offset, first->data);
    if (written.is(Code::kNoSpace)) {
      if (space_.evict_for_disk(static_cast<int64_t>(first->data.size()))) continue;
      if (make_room()) return;  // the uploads' end comes back here
      // What made room after the first look, and was over before the second.
      written = write_now(first->draft, first->offset, first->data);
    }
    const WaitingWrite over = waiting_.pop();
    if (!written.is(Code::kNoSpace)) room_at_ms_ = clock_.mono_ms();
    over.done(written);
  }
}

// False: no upload that may succeed would make any.
bool DraftTable::make_room() {
  size_t under_way = settling_;
  std::vector<std::pair<int64_t, std::shared_ptr<Draft>>> others;
  {
    MutexLock lock(mu_);
    for (const auto& [ino, draft] : drafts_) {
      if (!draft->begun() || draft->unlinked() || !draft->dirty()) continue;
      if (draft->trouble && !worth_repeating(draft->trouble->error.code)) continue;
      if (draft->saving || draft->failures > 0) {  // those that failed have their own back-off
        ++under_way;
      } else {
        others.emplace_back(0, draft);
      }
    }
  }
  if (under_way + others.size() == 0) return false;
  const auto sent = s3_.counters().bytes_sent;
  if (sent_seen_.exchange(sent) != sent) room_at_ms_ = clock_.mono_ms();
  if (clock_.mono_ms() - room_at_ms_ > kPatienceMs) return false;
  for (auto& [bytes, draft] : others) bytes = draft->unsaved().bytes();
  std::sort(others.begin(), others.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = 0; i < others.size() && under_way < kTogether; ++i, ++under_way) {
    log::debug("cache full: inode {} goes up with {} bytes", others[i].second->ino(), others[i].first);
    upload(others[i].second, [](const Status&) {});
  }
  return true;
}

void DraftTable::stop_waiting() {
  for (const WaitingWrite& write : waiting_.stop())
    write.done(Error{Code::kCancelled, "unmounted before there was room for it"});
}

}  // namespace s3cache::core
