// DirActivity: who walks through which directory, for three guesses about what will be asked next.
//
// Stat walk: a thread whose attribute question (probe or HEAD) in a directory was not followed by an OPEN of
// that object before its next LOOKUP or GETATTR there only stats: the directory's siblings are then asked by
// parallel HEADs, until an OPEN in that directory says otherwise. Threads are judged one by one, so several
// readers interleaving never look like a walk. Removal: a thread that removed what it had asked for last
// wants names only, until it opens or stats a file. Cold walk: after kColdLimit names asked one by one the
// directory is worth listing. Threads: any. Bounded: kMaxDirs directories (the longest unused goes),
// kMaxThreads threads each. In RAM only.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "base/sync.h"

namespace s3cache::core {

class DirActivity {
 public:
  static constexpr uint32_t kColdLimit = 8;
  static constexpr size_t kMaxDirs = 1024, kMaxThreads = 256;

  // A LOOKUP or GETATTR of `name` begins. True: the directory is being stat-walked.
  bool arrive(uint64_t dir, uint32_t tid, std::string_view name);
  // The attributes of `name` were asked from the server on behalf of this thread.
  void asked(uint64_t dir, uint32_t tid, std::string_view name);
  // No directory is watched: nobody asked the server for anything so far.
  bool idle() const { return count_.load(std::memory_order_relaxed) == 0; }
  // An OPEN. True: it ended a stat walk.
  bool opened(uint64_t dir, uint32_t tid);
  // The name was removed, by whoever asked for it last.
  void removed(uint64_t dir, std::string_view name);
  bool removing(uint32_t tid) const { return tid != 0 && removing_.load(std::memory_order_relaxed) == tid; }
  void wants_attributes(uint32_t tid);
  // A name was asked by a request of its own. True: every kColdLimit-th time.
  bool cold(uint64_t dir);

 private:
  struct Dir {
    std::unordered_map<uint32_t, size_t> last_asked;  // tid -> hash of the name
    bool walking = false;
    uint32_t cold = 0;
    uint64_t used = 0;
  };
  Dir& dir(uint64_t ino) REQUIRES(mu_);

  Mutex mu_;
  std::unordered_map<uint64_t, Dir> dirs_ GUARDED_BY(mu_);
  uint64_t tick_ GUARDED_BY(mu_) = 0;
  std::atomic<uint32_t> removing_{0};  // the thread that did last
  std::atomic<size_t> count_{0};       // of dirs_: spares warm opens the lock and the inode's record
};

}  // namespace s3cache::core
