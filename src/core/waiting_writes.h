// WaitingWrites: writes that found no room in the cache, in the order in which they came, with their bytes.
//
// While one waits, later ones queue behind it, also those that would need no room: so a file that is written
// over and over comes to rest, can be saved, and makes room. Threads: any. Owns: the bytes and the handles.
// Units: bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/sync.h"
#include "core/draft.h"
#include "core/types.h"

namespace s3cache::core {

struct WaitingWrite {
  std::shared_ptr<void> file;  // keeps the handle open
  std::shared_ptr<Draft> draft;
  std::optional<int64_t> offset;  // none: at the end
  std::vector<std::byte> data;
  Callback<size_t> done;
};

class WaitingWrites {
 public:
  explicit WaitingWrites(int64_t max_bytes) : max_bytes_(max_bytes) {}

  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  // False: too many bytes wait already, or stop() came; `write` stays the caller's.
  bool add(WaitingWrite& write) EXCLUDES(mu_);
  // The first one, for the one thread that serves; it stays first until pop().
  WaitingWrite* front() EXCLUDES(mu_);
  WaitingWrite pop() EXCLUDES(mu_);
  // True: the caller serves. Else whoever does goes round once more.
  bool begin_serving() EXCLUDES(mu_);
  // False: somebody asked for another round meanwhile.
  bool end_serving() EXCLUDES(mu_);
  // Takes nothing any more, waits for who serves, and gives what is left.
  std::deque<WaitingWrite> stop() EXCLUDES(mu_);

 private:
  const int64_t max_bytes_;
  std::atomic<size_t> count_{0};
  Mutex mu_;
  CondVar idle_;
  std::deque<WaitingWrite> writes_ GUARDED_BY(mu_);  // a deque's elements stay where they are
  int64_t bytes_ GUARDED_BY(mu_) = 0;
  bool serving_ GUARDED_BY(mu_) = false;
  bool again_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
};

}  // namespace s3cache::core
