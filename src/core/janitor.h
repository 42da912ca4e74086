// Janitor: one thread for soft work that nobody waits for: forgetting cold names, scrubbing.
//
// Each task does one bounded step and says when it wants to go on. Threads: the destructor waits for the step
// at hand. Owns: its thread. Units: ms.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "base/sync.h"

namespace s3cache::core {

class Janitor {
 public:
  using Task = std::function<int64_t()>;  // returns the ms until its next step
  explicit Janitor(std::vector<Task> tasks);
  ~Janitor();

 private:
  void run();

  const std::vector<Task> tasks_;
  Mutex mu_;
  CondVar wake_;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace s3cache::core
