// Session: one mount, from mount(2) to umount(2).
//
// mount() comes back when the mount answers (INIT done, one request served); whatever fails before leaves
// nothing mounted. The app forks before it: threads start here. request_exit() may be called from any thread
// (not from a signal handler: the app's signal thread calls it). Threads: mount() and the destructor on one
// thread; run(), request_exit() and the getters from any. Owns: the libfuse session, its workers, the
// notifier's thread while mounted. Borrows: the file system and the notifier (core's ChangeListener is made
// before the mount), which outlive it. Errors: check_mountpoint's, and what mount(2) says.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/sync.h"
#include "core/filesystem.h"
#include "fuse/incarnations.h"
#include "fuse/kernel_compat.h"
#include "fuse/notifier.h"
#include "fuse/options.h"

struct fuse_session;

namespace s3cache::fuse {

class Session : private NotifySink {
 public:
  // next_id: from the counter that also numbers the inodes (a nodeid must never be a future ino).
  static Result<std::unique_ptr<Session>> mount(const Options& options, core::Filesystem& fs,
                                                Notifier& notifier, Incarnations::NextId next_id);
  // Unmounts. Requests under way end with an error; files still open get ENOTCONN.
  ~Session() override;

  // Serves until request_exit() or until somebody unmounts.
  Status run() EXCLUDES(mu_);
  void request_exit() EXCLUDES(mu_);

  bool passthrough() const { return compat_->passthrough(); }
  const std::string& why_no_passthrough() const { return compat_->why_no_passthrough(); }
  dev_t device() const { return dev_; }
  bool parallel_dirops() const { return compat_->parallel_dirops(); }
  Incarnations& incarnations();
  size_t waiting_requests();
  size_t watched_requests();  // of KillWatch

 private:
  Session(const Options& options, core::Filesystem& fs, Notifier& notifier, Incarnations::NextId next_id);
  Status start();
  Status wait_ready();
  void loop();
  void stop_loop() EXCLUDES(mu_);

  void invalidate_attributes(uint64_t nodeid) override;
  void invalidate_pages(uint64_t nodeid) override;
  bool directory_waits(uint64_t nodeid) override;
  void invalidate_entry(uint64_t parent, const std::string& name) override;

  const Options options_;
  Notifier& notifier_;
  const std::shared_ptr<KernelCompat> compat_;
  const std::shared_ptr<Ops> ops_;
  UserData data_;
  fuse_session* session_ = nullptr;  // these four: set before the workers start
  dev_t dev_ = 0;
  bool mounted_ = false;
  std::atomic<bool> ready_{false};
  std::thread thread_;
  Mutex mu_;
  CondVar cv_;
  bool exit_wanted_ GUARDED_BY(mu_) = false;
  bool done_ GUARDED_BY(mu_) = false;
  int loop_error_ GUARDED_BY(mu_) = 0;
};

}  // namespace s3cache::fuse
