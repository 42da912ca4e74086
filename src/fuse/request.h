// Request: one kernel request on its way through callbacks, answered exactly once.
//
// Whoever wins claim() sends the reply: the completing thread, the interrupt, or the end of the mount. An
// operation starts its work, then calls park(); if the answer was at hand the request is gone by then and
// nothing was paid for it but one allocation. A request dropped unanswered replies EIO, so a lost callback
// never hangs a program.
//
// A signal ends a request that only asks (EINTR). One that changes something is answered with what became of
// it: a program that meets EINTR tries again, and would append twice or find its own new name taken. Only a
// caller that is being killed is let go (KillWatch), and the change still happens.
//
// Threads: any. Errors: replies return libfuse's -errno (-ENOENT: nobody waits any more).
#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/sync.h"
#include "core/types.h"
#include "fuse/kill_watch.h"

namespace s3cache::fuse {

// Run-down protection: after close() returns nobody is inside libfuse any more, and late answers go nowhere.
class Gate {
 public:
  bool enter() {
    inside_.fetch_add(1);
    if (!closed_.load()) return true;
    inside_.fetch_sub(1);
    return false;
  }
  void leave() { inside_.fetch_sub(1); }
  void close();

 private:
  std::atomic<int> inside_{0};
  std::atomic<bool> closed_{false};
};

class Request;

// The requests that wait for somebody: what an INTERRUPT or the end of the mount can reach.
class Parked {
 public:
  // Directories: those whose lock the kernel holds while it waits; 0: none.
  uint64_t add(std::weak_ptr<Request> request, uint64_t directory, uint64_t second_directory) EXCLUDES(mu_);
  void remove(uint64_t id) EXCLUDES(mu_);
  std::shared_ptr<Request> find(uint64_t id) EXCLUDES(mu_);
  // Answers everything that waits. For the end of the mount.
  void answer_all(int err) EXCLUDES(mu_);
  size_t size() EXCLUDES(mu_);
  // A LOOKUP, READDIR or change of names in that directory waits.
  bool directory_waits(uint64_t nodeid) EXCLUDES(mu_);
  Gate& gate() { return gate_; }
  KillWatch& kill_watch() { return kill_watch_; }

 private:
  void leave(uint64_t directory) REQUIRES(mu_);

  Gate gate_;
  KillWatch kill_watch_;
  Mutex mu_;
  uint64_t last_id_ GUARDED_BY(mu_) = 0;
  struct Waiter {
    std::weak_ptr<Request> request;
    uint64_t directory, second_directory;
  };
  std::unordered_map<uint64_t, Waiter> waiting_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, size_t> directories_ GUARDED_BY(mu_);  // with waiters
};

class Request : public std::enable_shared_from_this<Request> {
 public:
  enum class Kind : uint8_t { kAsks, kChanges };
  Request(std::shared_ptr<Parked> parked, fuse_req_t req, Kind kind);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Call as the last thing of an operation, unless it answered itself.
  void park(uint64_t directory = 0, uint64_t second_directory = 0);
  // Before park(): runs once an interrupt has answered. On any thread.
  void when_interrupted(std::function<void()> f) { when_interrupted_ = std::move(f); }
  // The interrupt's answer, if it is due by now. False: the caller lives on, ask again later.
  bool give_up();
  // True for exactly one caller, who then replies.
  bool claim();

  // REQUIRES: claim() said true to this thread. `f` is int(fuse_req_t) and consumes the request.
  template <class F>
  int reply(F&& f) {
    if (!parked_->gate().enter()) return -ENODEV;
    const int rc = f(req_);
    parked_->gate().leave();
    return rc;
  }
  int reply_err(int err) {
    return reply([err](fuse_req_t r) { return fuse_reply_err(r, err); });
  }

 private:
  enum State : int { kRunning, kParking, kParked, kAnswered };
  static void on_interrupt(fuse_req_t req, void* id);
  void interrupted();

  const std::shared_ptr<Parked> parked_;
  const fuse_req_t req_;
  const Kind kind_;
  const uint32_t tid_;
  uint64_t id_ = 0;  // written in kParking, read after kParked
  std::function<void()> when_interrupted_;
  std::atomic<int> state_{kRunning};
  std::atomic<bool> interrupted_{false};
};

using RequestPtr = std::shared_ptr<Request>;

core::Caller caller_of(fuse_req_t req);

}  // namespace s3cache::fuse
