// InodeQueue: changes of one inode run one after another, those of different inodes side by side.
//
// An asynchronous mutex by ino, in the order of the calls. A job starts at once, on the caller's thread, when
// nothing of its inode is under way, else when its turn comes, on the thread that ended the job before it. It
// ends when the last copy of its Turn is gone. A job may need several places: it takes all of them at the
// time of the call and starts when it has the last one, so jobs cannot wait for each other in a circle. A
// place may also be a key of S3 (key_place): whoever makes an object there comes after the deletion that was
// asked for earlier, be it of a file or of a directory of that name.
//
// A gate holds up everything at or below one directory while that directory is renamed: new jobs wait for its
// opening and then find their places anew, so they compute their keys when they run. Threads: any; no lock is
// held while a job runs. Errors: none. A job must not wait for another turn of the same inode, and drops its
// Turn itself: a callback that the client destroys under one of its locks is no place for the next job to
// run.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/sync.h"

namespace s3cache::core {

class InodeQueue {
 public:
  using Turn = std::shared_ptr<void>;  // the job's place; released with the last copy
  using Job = std::function<void(Turn)>;

  void run(uint64_t ino, Job job) { run_all({ino}, {}, std::move(job)); }
  // `scope`: inodes that the job does not change but whose gates hold it up (the directory it writes into).
  void run_all(std::vector<uint64_t> places, std::vector<uint64_t> scope, Job job) EXCLUDES(mu_);
  bool busy(uint64_t place) EXCLUDES(mu_);
  // Somebody waits for it.
  bool busy_behind(uint64_t place) EXCLUDES(mu_);

  static uint64_t key_place(std::string_view key);  // never an ino
  static bool is_ino(uint64_t place) { return (place >> 63) == 0; }

  // Closes a gate over the inodes for which `inside` holds (called under the queue's lock: it reads records
  // only). `quiet` gets the gate's number, maybe before the call returns, when the jobs that were under way
  // or waiting there have ended.
  using Inside = std::function<bool(uint64_t ino)>;
  void close_gate(Inside inside, std::function<void(uint64_t gate)> quiet) EXCLUDES(mu_);
  void open_gate(uint64_t gate) EXCLUDES(mu_);

 private:
  struct Request {
    std::vector<uint64_t> places, scope;
    Job job;
  };
  struct Gate {
    uint64_t id = 0;
    Inside inside;
    std::vector<Request> parked;
  };
  using Step = std::function<void()>;

  Gate* gate_over(const Request& request) REQUIRES(mu_);
  void leave(uint64_t place) EXCLUDES(mu_);

  Mutex mu_;
  // What waits for each place; an entry: somebody has it.
  std::unordered_map<uint64_t, std::deque<Step>> waiting_ GUARDED_BY(mu_);
  std::list<Gate> gates_ GUARDED_BY(mu_);
  uint64_t last_gate_ GUARDED_BY(mu_) = 0;
};

}  // namespace s3cache::core
