// Fetcher: starts the GETs of segments within the memory budget, foreground before background.
//
// A segment starts when the pool gives all its units. Foreground segments that find none wait in order of
// arrival; background ones are refused and planned again by a later read. Under pressure the oldest bytes
// that are kept in RAM (because the cache did not take them) are given up first: their readers fetch them
// again if they come back. Threads: any. Owns: the queue and the list of RAM segments. Borrows: client, pool,
// disk pool; all outlive it.
#pragma once

#include <atomic>
#include <deque>
#include <memory>

#include "base/sync.h"
#include "core/buffer_pool.h"
#include "core/content.h"
#include "core/worker_pool.h"
#include "s3/s3_client.h"

namespace s3cache::core {

class Fetcher {
 public:
  Fetcher(s3::S3Client& s3, BufferPool& pool, WorkerPool& workers);

  // False: a background segment found no memory.
  bool start(const std::shared_ptr<Content>& content, const std::shared_ptr<Segment>& segment);
  void kept_in_ram(const std::shared_ptr<Content>& content, int64_t offset);
  // May a stored unit stay for its reader? At most a quarter of the pool, and only until somebody needs the
  // memory.
  bool keep(const std::shared_ptr<Content>& content, int64_t offset);
  void unkept(size_t units) { kept_.fetch_sub(units); }
  // Gives memory that nobody needed lately back to the system, units kept for a reader who does not come
  // among it. For the janitor, every few seconds.
  void trim();
  // A started segment's transfer is over, well or not.
  void ended();
  // Drops what waits for memory. REQUIRES: the client is shut down.
  void shutdown();
  void cancel(s3::RequestId request) { s3_.cancel(request); }
  void promote(s3::RequestId request) { s3_.promote(request); }

 private:
  struct Waiting {
    std::shared_ptr<Content> content;
    std::shared_ptr<Segment> segment;
  };
  struct InRam {
    std::weak_ptr<Content> content;
    int64_t offset;
  };
  struct Kept {
    std::weak_ptr<Content> content;
    int64_t offset;
    uint64_t round;  // of trim()
  };
  bool take(const Segment& segment, std::vector<BufferPool::Unit>& units);
  bool reclaim();
  bool drop_newest_kept();
  void launch(const Waiting& what, std::vector<BufferPool::Unit> units);
  void drain();

  s3::S3Client& s3_;
  BufferPool& pool_;
  WorkerPool& workers_;
  Mutex mu_;
  std::deque<Waiting> waiting_ GUARDED_BY(mu_);
  std::deque<InRam> in_ram_ GUARDED_BY(mu_);
  std::deque<Kept> kept_list_ GUARDED_BY(mu_);  // oldest first; some are gone already
  uint64_t round_ GUARDED_BY(mu_) = 0;
  std::atomic<size_t> kept_{0};  // units
  size_t in_flight_ GUARDED_BY(mu_) = 0;
};

}  // namespace s3cache::core
