// guarded(): a call of LMDB that survives what LMDB does on pages it cannot believe.
//
// That is an assertion, which would abort the process and with it the mount, or a wild pointer, SIGSEGV, or a
// page that is not there any more (a file cut short, a disk that cannot read it), SIGBUS. All three jump back
// here and are kDamaged. REQUIRES: what runs inside takes no lock of ours and holds nothing with a destructor
// while it is in LMDB (a jump runs none). Transactions and cursors are ended as usual afterwards. Threads:
// any; the way back is the thread's own. The two signal handlers are the process's, set with every store that
// is opened; outside of guarded() they hand over to whatever was set before.
#pragma once

#include <csetjmp>
#include <string_view>

namespace s3cache::meta {

// Beyond LMDB's own codes (-30799 to -30778).
inline constexpr int kDamaged = -30000;

inline thread_local std::jmp_buf* volatile guard_exit = nullptr;

void install_guard();

// Reads a byte of each page of it: inside guarded() this is what makes reading it outside safe.
void touch(std::string_view bytes);

template <class F>
int guarded(const F& call) {
  std::jmp_buf here;
  if (setjmp(here) != 0) {
    guard_exit = nullptr;
    return kDamaged;
  }
  guard_exit = &here;
  const int rc = call();
  guard_exit = nullptr;
  return rc;
}

}  // namespace s3cache::meta
