// The whole-object side of Content: who waits for every byte of it.
#include <algorithm>
#include <utility>

#include "core/content.h"

namespace s3cache::core {

void Content::fetch_all(s3::HeadCallback on_headers, std::function<void(Status)> done) {
  fetch_whole({std::move(done)}, on_headers);
}

void Content::fetch_whole(Whole whole, const s3::HeadCallback& on_headers) {
  Segments to_start, hollow;
  std::vector<s3::RequestId> promoted;
  std::optional<s3::ObjectInfo> known;
  bool complete = false;
  {
    MutexLock lock(mu_);
    complete = settled();
    if (!complete && stale_) {
      lock.unlock();
      const Error error{Code::kStale, id_.key + " was replaced on the server"};
      if (on_headers) on_headers(error);
      if (whole.done) whole.done(error);
      return;
    }
    if (on_headers) {
      if (info_) {
        known = info_;
      } else {
        on_headers_.push_back(on_headers);
      }
    }
    if (!complete) {
      hollow = take_hollow(0, id_.size);
      plan({0, id_.size}, 0, false, to_start);
      promote_overlapping(0, id_.size, promoted);
      if (whole.done) whole_.push_back(whole);
    }
  }
  hollow.clear();
  if (known && on_headers) on_headers(*known);
  if (complete && whole.done) whole.done({});
  for (s3::RequestId request : promoted) host_.promote(request);
  start(to_start);
}

// Is anything on its way from the server, or to the disk?
bool Content::coming() {
  return std::any_of(segments_.begin(), segments_.end(), [](const auto& s) {
    return !s.second->done || (s.second->to_disk && s.second->stored_units < s.second->unit_count());
  });
}

// Is the whole object as near as it will come: sealed, or complete in RAM and on disk together? While the
// cache file can still become complete its seal is waited for (passthrough from the first byte); whoever
// seals checks again.
bool Content::settled() {
  if (sealed()) return true;
  if (file_ && !given_up_ && file_->full()) return false;
  return !coming() && collect(0, id_.size, nullptr) == Found::kAll;
}

// Runs the callbacks that wait for the whole object.
void Content::check_whole() {
  std::vector<Whole> ready;
  bool complete = false;
  {
    MutexLock lock(mu_);
    if (whole_.empty()) return;
    complete = settled();
    // Nothing more comes by itself: the cache file lost pages meanwhile.
    const bool lost = !complete && !coming() && !(file_ && !given_up_ && file_->full());
    if (!complete && !lost) return;
    ready.swap(whole_);
  }
  for (Whole& whole : ready) {
    if (complete) {
      whole.done({});
    } else {
      fetch_whole(std::move(whole), nullptr);
    }
  }
}

}  // namespace s3cache::core
