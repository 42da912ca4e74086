// OpenReaders: how many handles that only read each inode has.
//
// An inode without a name lives as long as somebody has it open: its record, and what of its bytes S3 never
// had. Threads: any. Errors: none.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/sync.h"

namespace s3cache::core {

class OpenReaders {
 public:
  void add(uint64_t ino) {
    Stripe& s = stripe(ino);
    MutexLock lock(s.mu);
    ++s.handles[ino];
  }
  void drop(uint64_t ino) {
    Stripe& s = stripe(ino);
    MutexLock lock(s.mu);
    const auto it = s.handles.find(ino);
    if (it != s.handles.end() && --it->second == 0) s.handles.erase(it);
  }
  bool any(uint64_t ino) {
    Stripe& s = stripe(ino);
    MutexLock lock(s.mu);
    return s.handles.contains(ino);
  }

 private:
  // Every open and close of every file comes here.
  struct Stripe {
    Mutex mu;
    std::unordered_map<uint64_t, int> handles GUARDED_BY(mu);
  };
  Stripe& stripe(uint64_t ino) { return stripes_[ino % stripes_.size()]; }

  std::array<Stripe, 16> stripes_;
};

}  // namespace s3cache::core
