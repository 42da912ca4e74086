// Listing: one directory being listed, page by page, for everybody who waits; Listings: the table of them.
//
// Pages are written to the store (ListingMerge) and readers take names from there, up to the frontier; the
// next page is asked when one arrives, before it is merged. A listing goes on while a reader holds it or a
// page grant is left, else it rests where it is (continued within the TTL).
// At its end the directory is complete as of the listing's start. Threads: any; pages are merged on the
// network threads that bring them, one at a time. Waiters run there too, never under a lock. Errors: those of
// S3Client and MetaStore, kCorrupt for a server that pages in a circle; they end the listing, and the next
// reader begins another.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/dir_collect.h"
#include "core/dir_pages.h"
#include "core/tree_walks.h"

namespace s3cache::core {

class Listings;

class Listing : public std::enable_shared_from_this<Listing> {
 public:
  Listing(Listings& owner, uint64_t dir, std::string prefix, int64_t started_at_ns);

  int64_t started_at_ns() const { return started_at_ns_; }

  // How far it has come. `generation` moves with every page and at the end.
  struct View {
    std::string frontier;  // names up to this dirent key tail are in the store
    bool done = false;
    std::optional<Error> error;
    uint64_t generation = 0;
  };
  View view();
  // A name at or before the frontier that the server no longer has, or beyond it.
  bool hides(const std::string& tail);
  std::vector<std::string> late_names(size_t from);
  // The server's word of a name: when the listing began, if it has shown the name, else 0.
  int64_t covered_at(const std::string& tail);
  // Calls `wake` once the generation is past this one. False: it is already, `wake` is not called.
  bool wait(uint64_t generation, std::function<void()> wake);

  // For a name that nobody knows yet: calls `wake` after the next page of a listing that is under way, if it
  // is among the first `pages` (at once, if the generation has moved on). False: not worth waiting for.
  bool wait_for_name(uint64_t generation, int pages, std::function<void()> wake);

  void add_reader();
  void drop_reader();
  // At least this many pages in all, reader or not; or this many beyond those asked for.
  void grant(int pages);
  void grant_more(int pages);
  bool resting();
  // A younger listing takes its place: unless somebody reads this one, it writes nothing down any more.
  void supersede_if_unread();

 private:
  struct Page {
    Result<s3::ListPage> answer;
    int64_t asked_at_ns;
  };

  bool should_ask() const REQUIRES(mu_);
  // Sends the next request if there is a reason to; takes over the lock.
  void ask_if_wanted();
  void on_page(Page page);
  void drain();
  // Merges one page. True: the listing is over.
  bool merge(Page page);
  Status check_progress(const s3::ListPage& page) REQUIRES(mu_);
  void publish(const ListingMerge::Outcome& outcome, bool done);
  void fail(const Error& error);
  void wake_waiters();
  // It is over: whether it was as short as a listing can be, and read, tells of a walk through the tree.
  void end();

  Listings& owner_;
  NsContext& c_;
  const uint64_t dir_;
  const std::string prefix_;
  const int64_t started_at_ns_;
  DirPages dir_pages_;  // of the draining thread

  Mutex mu_;
  std::string token_ GUARDED_BY(mu_);
  std::deque<Page> pages_ GUARDED_BY(mu_);
  bool draining_ GUARDED_BY(mu_) = false;
  bool in_flight_ GUARDED_BY(mu_) = false;
  bool last_seen_ GUARDED_BY(mu_) = false;  // no further request
  bool done_ GUARDED_BY(mu_) = false;
  std::optional<Error> error_ GUARDED_BY(mu_);
  s3::RequestId request_ GUARDED_BY(mu_) = 0;
  bool background_ GUARDED_BY(mu_) = false;
  int readers_ GUARDED_BY(mu_) = 0;
  int granted_ GUARDED_BY(mu_) = 0;
  int asked_ GUARDED_BY(mu_) = 0;
  uint64_t generation_ GUARDED_BY(mu_) = 0;
  std::string frontier_ GUARDED_BY(mu_);
  std::set<std::string> gone_ GUARDED_BY(mu_);
  std::vector<std::string> late_ GUARDED_BY(mu_);
  std::vector<std::function<void()>> waiters_ GUARDED_BY(mu_);
};

// Threads: any. Holds a running or resting listing by directory, at most kMaxResting resting ones.
class Listings {
 public:
  Listings(NsContext& context, DirRecords& records)
      : c_(context), records_(records), collector_(context), walks_(context, records, collector_) {}

  // The listing that runs, or a new one; not started before somebody reads or grants.
  Result<std::shared_ptr<Listing>> join(uint64_t dir);
  std::shared_ptr<Listing> find(uint64_t dir);
  void finished(uint64_t dir, const Listing* listing);

  NsContext& context() { return c_; }
  DirRecords& records() { return records_; }
  DirCollector& collector() { return collector_; }
  TreeWalks& walks() { return walks_; }

 private:
  static constexpr size_t kMaxResting = 1024;

  NsContext& c_;
  DirRecords& records_;
  DirCollector collector_;
  TreeWalks walks_;
  Mutex mu_;
  std::unordered_map<uint64_t, std::shared_ptr<Listing>> table_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
