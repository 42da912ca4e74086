// Signals: SIGTERM and SIGINT stop the mount, SIGHUP opens the log again, SIGUSR2 goes to the next log level.
//
// The signals are blocked in every thread and read by one, so handlers run as ordinary code and may lock and
// log. Threads: block() before any other thread starts; the rest from any. The stop callback runs once, on
// the signal thread or inside on_stop().
#pragma once

#include <functional>
#include <thread>

#include "base/sync.h"
#include "base/unique_fd.h"

namespace s3cache::app {

class Signals {
 public:
  // Blocks the signals above, and SIGUSR1, for this thread and those it starts; ignores SIGPIPE.
  static void block();

  Signals();  // REQUIRES: block() was called
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Replaces what a stop does from now on; nullptr: nothing. If a stop was asked for already and nothing has
  // acted on it, `callback` runs at once. A running callback is waited for, so what the old one uses may go
  // away afterwards.
  void on_stop(std::function<void()> callback) EXCLUDES(mu_);
  bool stop_requested() EXCLUDES(mu_);

 private:
  void run();
  void request_stop() EXCLUDES(mu_);

  UniqueFd signals_, quit_;

  Mutex mu_;
  CondVar idle_;
  std::function<void()> callback_ GUARDED_BY(mu_);
  bool requested_ GUARDED_BY(mu_) = false;
  bool running_ GUARDED_BY(mu_) = false;

  std::thread thread_;  // last: it uses everything above
};

}  // namespace s3cache::app
