#include "meta/lmdb_guard.h"

#include <signal.h>

#include "base/sync.h"

namespace s3cache::meta {
namespace {

struct sigaction before_segv, before_bus;

void on_fault(int signal) {
  if (guard_exit != nullptr) std::longjmp(*guard_exit, 1);
  // Not ours: the instruction runs again and meets the action from before.
  ::sigaction(signal, signal == SIGSEGV ? &before_segv : &before_bus, nullptr);
}

}  // namespace

void install_guard() {
  static Mutex mu;
  MutexLock l(mu);
  for (const int signal : {SIGSEGV, SIGBUS}) {
    struct sigaction action {
    }, current{};
    action.sa_handler = on_fault;
    action.sa_flags = SA_NODEFER;  // a jump does not unblock it
    if (::sigaction(signal, nullptr, &current) != 0 || current.sa_handler == on_fault) continue;
    (signal == SIGSEGV ? before_segv : before_bus) = current;
    ::sigaction(signal, &action, nullptr);
  }
}

void touch(std::string_view bytes) {
  constexpr size_t kStep = 4096;  // the smallest page there is
  const volatile char* p = bytes.data();
  for (size_t i = 0; i < bytes.size(); i += kStep) static_cast<void>(p[i]);
  if (!bytes.empty()) static_cast<void>(p[bytes.size() - 1]);
}

}  // namespace s3cache::meta
