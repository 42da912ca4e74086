// DeleteBatcher: deletions of single keys, sent together.
//
// Nobody waits for a deletion (its intent is durable), so keys gather until none came for 50 ms (gather_ms),
// at most a second or 1,000 keys; flush() sends what there is, for those who do wait: a new object of the
// same key, settle(). `rm -rf` of a small directory is then one request. At most four batches are on their
// way. Threads: any; callbacks on network threads, or on the thread of Delayed. Borrows the client, which is
// shut down first. Errors: each key's own, or that of its batch; nothing is repeated here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/sync.h"
#include "core/delayed.h"
#include "s3/s3_client.h"

namespace s3cache::core {

class DeleteBatcher {
 public:
  using Done = std::function<void(Status)>;
  // Called when a batch went out, with the directories its keys were in.
  using Sent = std::function<void(const std::vector<uint64_t>& dirs)>;

  DeleteBatcher(s3::S3Client& s3, Delayed& delayed, int64_t quiet_ms, Sent sent)
      : s3_(s3), delayed_(delayed), quiet_ms_(quiet_ms), sent_(std::move(sent)) {}

  void add(s3::DeleteItem item, uint64_t dir, Done done) EXCLUDES(mu_);
  void flush() EXCLUDES(mu_);
  // A key is coming as soon as its record is on the disk: a batch waits for it.
  void announce() EXCLUDES(mu_);
  void announced_came() EXCLUDES(mu_);

 private:
  static constexpr size_t kMaxKeys = 1000;
  static constexpr int kMaxBatches = 4;
  static constexpr int64_t kLongest = 20;  // quiet times

  struct Item {
    s3::DeleteItem item;
    uint64_t dir;
    Done done;
  };
  using Items = std::shared_ptr<std::vector<Item>>;

  void wait(int64_t ms) EXCLUDES(mu_);
  void on_time() EXCLUDES(mu_);
  void pump() EXCLUDES(mu_);
  void send(const Items& items);
  void ended(const Items& items, const Result<std::vector<s3::DeleteFailure>>& result);

  s3::S3Client& s3_;
  Delayed& delayed_;
  const int64_t quiet_ms_;
  const Sent sent_;
  Mutex mu_;
  std::vector<Item> gathered_ GUARDED_BY(mu_);
  int64_t first_ms_ GUARDED_BY(mu_) = 0, last_ms_ GUARDED_BY(mu_) = 0;  // when gathered_ began and grew
  int announced_ GUARDED_BY(mu_) = 0;
  bool timed_ GUARDED_BY(mu_) = false;
  bool due_ GUARDED_BY(mu_) = false;  // gathered_ goes out as soon as a batch may
  int under_way_ GUARDED_BY(mu_) = 0;
};

}  // namespace s3cache::core
