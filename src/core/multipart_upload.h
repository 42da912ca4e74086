// MultipartUpload: one snapshot's way through the parts that are still missing to Complete.
//
// Threads: its own mutex; steps run on network, worker and store threads. It lives as long as something of it
// is on its way. A failure waits for what is on its way and aborts the upload: nothing is left on the server.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "core/uploader.h"

namespace s3cache::core {

class MultipartUpload : public std::enable_shared_from_this<MultipartUpload> {
 public:
  MultipartUpload(Uploader& uploader, std::shared_ptr<Draft> draft, Draft::Snapshot snapshot,
                  Uploader::Target target, s3::WrittenCallback done);
  void start();

 private:
  void run();
  void launch(const PlannedPart& part);
  void copy(const PlannedPart& part);
  void ended(const PlannedPart& part, const Result<s3::Written>& written);
  int64_t drop_sent(const PlannedPart& but) EXCLUDES(mu_);
  bool go_again();
  bool is_hot(const PlannedPart& part);
  void complete();
  // Complete answered.
  void completed(const s3::Written& written);
  void fail(const Error& error);
  // The server forgot the upload (a lifecycle rule, another client's abort): all of it goes once more.
  bool start_over(const Error& error);

  Uploader& up_;
  const std::shared_ptr<Draft> draft_;
  const Draft::Snapshot snapshot_;
  const Uploader::Target target_;
  const s3::WrittenCallback done_;
  std::vector<PlannedPart> plan_;
  std::atomic<bool> tight_{false};  // a part found no room in the cache for what it needs
  Mutex mu_;
  int at_once_ GUARDED_BY(mu_);
  size_t next_ GUARDED_BY(mu_) = 0;
  int running_ GUARDED_BY(mu_) = 0;
  int repeats_ GUARDED_BY(mu_) = 0;
  bool finishing_ GUARDED_BY(mu_) = false;
  bool started_over_ GUARDED_BY(mu_) = false;
  std::set<int> hot_ GUARDED_BY(mu_);  // numbers of parts that were written while they were sent
  std::optional<Error> error_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
