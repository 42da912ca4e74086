// KillWatch: lets go of killed callers whose requests are not answered at every signal.
//
// Requests come here once they were interrupted by a signal their caller survived. Ten times a second they
// are asked again (Request::give_up), until they are answered. Threads: any; one of its own while something
// is watched. stop() before the requests' session ends; nothing is watched after it.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/sync.h"

namespace s3cache::fuse {

class Request;

class KillWatch {
 public:
  ~KillWatch();
  void add(std::weak_ptr<Request> request) EXCLUDES(mu_);
  void stop() EXCLUDES(mu_);
  size_t size() EXCLUDES(mu_);

  // The thread has a SIGKILL pending (the kernel turns every deadly signal into one) or is gone.
  static bool dying(uint32_t tid);

 private:
  void run() EXCLUDES(mu_);

  Mutex mu_;
  CondVar cv_;
  std::vector<std::weak_ptr<Request>> watched_ GUARDED_BY(mu_);
  size_t in_round_ GUARDED_BY(mu_) = 0;   // being asked right now
  bool running_ GUARDED_BY(mu_) = false;  // the thread looks at watched_ once more
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_ GUARDED_BY(mu_);
};

}  // namespace s3cache::fuse
