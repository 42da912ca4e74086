// Locks: flock(2) and fcntl(2) locks of the programs on this mount, kept by st_ino.
//
// The kernel keeps such locks by FUSE inode, and an inode here may have several nodeids; so it is asked to
// leave them to the daemon. They say nothing to other mounts. The rules are POSIX's: a lock belongs to an
// owner (a process for fcntl, an open file for flock and OFD locks) and covers bytes; an owner's new lock
// replaces what it had there, splitting and joining its ranges. fcntl and flock locks do not see each other.
// Who waits gets its turn in order of arrival, as far as it fits.
//
// Threads: any. Answers run on the thread that made room, without a lock. Units: bytes, `last` inclusive.
// Errors: plain errno (0, EAGAIN, EDEADLK): these are the kernel's own words and nobody else's.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <unordered_map>
#include <vector>

#include "base/sync.h"

namespace s3cache::fuse {

enum class LockSpace : uint8_t { kPosix, kFlock };
enum class LockType : uint8_t { kRead, kWrite, kUnlock };

struct Lock {
  uint64_t owner = 0;
  uint64_t first = 0, last = UINT64_MAX;
  LockType type = LockType::kRead;
  uint32_t pid = 0;
  uint64_t fh = 0;  // of the handle it was taken through
};

class Locks {
 public:
  // Somebody who would wait. claim() false: nobody waits any more, no lock is to be given. It runs under this
  // table's lock and may take none that is held around a call of it; answer() follows outside.
  struct Waiter {
    std::function<bool()> claim;
    std::function<void(int err)> answer;
  };

  // What stands in the way of `wish`; kUnlock: nothing.
  Lock test(LockSpace space, uint64_t ino, const Lock& wish) EXCLUDES(mu_);
  // Without waiting: 0 or EAGAIN. Unlocking never fails.
  int set(LockSpace space, uint64_t ino, const Lock& wish) EXCLUDES(mu_);
  // Answers now or when there is room. EDEADLK: fcntl owners would wait for each other. Returns a ticket for
  // cancel(), 0 if it was answered.
  uint64_t wait(LockSpace space, uint64_t ino, const Lock& wish, Waiter waiter) EXCLUDES(mu_);
  void cancel(uint64_t ino, uint64_t ticket) EXCLUDES(mu_);

  // close(2) of one descriptor: the process loses its fcntl locks of the inode.
  void release_owner(LockSpace space, uint64_t ino, uint64_t owner) EXCLUDES(mu_);
  // RELEASE of a handle: whoever took fcntl locks through it has closed it. For handles whose close is not
  // announced (NOFLUSH) and for OFD locks.
  void release_handle(uint64_t ino, uint64_t fh) EXCLUDES(mu_);

  bool empty() EXCLUDES(mu_);

 private:
  struct Waiting {
    uint64_t ticket;
    LockSpace space;
    Lock wish;
    Waiter waiter;
  };
  struct Inode {
    std::vector<Lock> held[2];  // by LockSpace, in no order
    std::list<Waiting> waiting;
    bool idle() const { return held[0].empty() && held[1].empty() && waiting.empty(); }
  };
  using Answers = std::vector<std::function<void()>>;

  static std::vector<Lock>& held(Inode& inode, LockSpace space) {
    return inode.held[static_cast<int>(space)];
  }
  static const Lock* conflict(Inode& inode, LockSpace space, const Lock& wish);
  static void apply(std::vector<Lock>& locks, const Lock& wish);
  bool deadlock(const Lock& wish, uint64_t ino) REQUIRES(mu_);
  void wake(Inode& inode, Answers& answers) REQUIRES(mu_);
  void changed(uint64_t ino, Answers& answers) REQUIRES(mu_);

  Mutex mu_;
  uint64_t last_ticket_ GUARDED_BY(mu_) = 0;
  std::unordered_map<uint64_t, Inode> inodes_ GUARDED_BY(mu_);
};

}  // namespace s3cache::fuse
