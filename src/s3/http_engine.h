// HttpEngine: runs HttpTasks on a few network threads, one curl multi each, foreground first.
//
// A task goes to the thread with the fewest tasks and stays there over its attempts. Connections are reused
// within a thread. Background tasks start only while no foreground task of the thread waits, and leave a
// quarter of the slots free, so that somebody who waits for a small answer never queues behind bulk. Threads:
// every method from any thread; tasks run on the network threads. Owns: its threads, and a reference to each
// task until it is over. Errors: tasks get them. Units: connections (of all threads together).
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "s3/http_task.h"
#include "s3/options.h"

namespace s3cache::s3 {

class NetworkThread;

class HttpEngine {
 public:
  explicit HttpEngine(const HttpOptions& options);
  ~HttpEngine();

  RequestId submit(std::shared_ptr<HttpTask> task, Priority priority);
  void cancel(RequestId id);
  void promote(RequestId id);
  // How many requests may run in parallel, at most max_connections; running ones are not disturbed.
  void set_parallelism(int n);
  // Ends every task with kCancelled and joins the threads. Idempotent. Not from a network thread.
  void shutdown();

 private:
  std::vector<std::unique_ptr<NetworkThread>> threads_;
  std::atomic<uint64_t> next_{1};
};

}  // namespace s3cache::s3
