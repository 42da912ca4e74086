// Notifier: tells the kernel what changed behind its back, from a thread of its own.
//
// A notification may block for seconds behind a READ of the same file, so nobody waits for one, and nothing
// is queued twice: the queue is a set by inode and by name. Threads: the ChangeListener methods and
// drop_...() from any thread, they never block; the sender runs on the notifier's thread. Errors: the
// kernel not knowing an inode is the normal case and silent.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "core/namespace.h"

namespace s3cache::fuse {

// The kernel as the notifier sees it.
class NotifySink {
 public:
  virtual ~NotifySink() = default;
  virtual void invalidate_attributes(uint64_t nodeid) = 0;
  virtual void invalidate_pages(uint64_t nodeid) = 0;
  // A request waits that holds the directory's lock in the kernel.
  virtual bool directory_waits(uint64_t nodeid) = 0;
  virtual void invalidate_entry(uint64_t parent, const std::string& name) = 0;
};

class Notifier : public core::ChangeListener {
 public:
  using NodeidsOf = std::function<std::vector<uint64_t>(uint64_t ino)>;
  using PagesDropped = std::function<void(uint64_t nodeid, uint64_t stamp)>;

  Notifier() = default;
  ~Notifier() override;

  // Until start() and after stop() notifications are swallowed: there is no kernel to tell.
  void start(NotifySink* sink, NodeidsOf nodeids_of, PagesDropped pages_dropped) EXCLUDES(mu_);
  // Joins the thread; a notification stuck in the kernel must have been freed before (the connection
  // aborted).
  void stop() EXCLUDES(mu_);

  void inode_changed(uint64_t ino) override EXCLUDES(mu_);
  void entry_removed(uint64_t parent, std::string_view name) override EXCLUDES(mu_);
  // Stamps of one nodeid only grow; 0: nobody's record, PagesDropped will not know it.
  void drop_pages(uint64_t nodeid, uint64_t stamp) EXCLUDES(mu_);
  // For one nodeid, and without making opens wait for it as inode_changed() does.
  void drop_attributes(uint64_t nodeid) EXCLUDES(mu_);

  // True while the kernel may believe attributes of ino older than the change, until told() or delivery.
  bool unsettled(uint64_t ino) EXCLUDES(mu_);
  // A LOOKUP or GETATTR is answering with the present attributes.
  void told(uint64_t ino) EXCLUDES(mu_);

 private:
  struct Change {
    bool told = false;
  };
  void run() EXCLUDES(mu_);
  void send_entry() REQUIRES(mu_);
  void send_attributes() REQUIRES(mu_);

  NotifySink* sink_ = nullptr;  // these three: set by start() before the thread runs
  NodeidsOf nodeids_of_;
  PagesDropped pages_dropped_;
  std::thread thread_;
  std::atomic<size_t> pending_{0};  // of changes_: spares the hot path the lock
  Mutex mu_;
  CondVar cv_;
  bool running_ GUARDED_BY(mu_) = false;
  bool stop_ GUARDED_BY(mu_) = false;
  std::unordered_map<uint64_t, Change> changes_ GUARDED_BY(mu_);  // queued or on its way
  std::set<uint64_t> queue_ GUARDED_BY(mu_);                      // inos to send
  std::set<std::pair<uint64_t, std::string>> entries_ GUARDED_BY(mu_);
  // Names whose directory is busy. The kernel takes the directory's lock exclusively for an invalidation:
  // behind a LOOKUP that waits for the server it would hold up every other LOOKUP there, and a daemon killed
  // at that moment would leave a mount that hangs. So they are tried again later.
  std::set<std::pair<uint64_t, std::string>> postponed_ GUARDED_BY(mu_);
  std::map<uint64_t, uint64_t> pages_ GUARDED_BY(mu_);  // nodeid -> stamp
  std::set<uint64_t> attributes_ GUARDED_BY(mu_);       // nodeids
};

}  // namespace s3cache::fuse
