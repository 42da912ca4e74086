// TreeWalk: a flat listing that runs a little ahead of somebody who reads the directories of a subtree.
//
// LIST without delimiter, from one directory on: a page of 1,000 keys fills fifty directories of twenty
// files. It stays at most kAhead pages ahead of the last directory that was taken up, so a walk that is given
// up costs two LISTs nobody needed. Whoever wants a directory that has not come yet waits for kPatience pages
// at most and then lists it by itself. The flat listing ends where it is no cheaper than listing directories:
// a page that completes none and is not all of one directory, a directory longer than somebody's patience.
// Threads: any; pages are merged on the network threads that bring them, one at a time. Waiters run there
// too, never under a lock. Errors: none to callers; they end the walk, and directories are listed one by one.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tree_merge.h"

namespace s3cache::core {

class TreeWalks;

class TreeWalk : public std::enable_shared_from_this<TreeWalk> {
 public:
  // Of the subtree `prefix` of the directory `top`, from its sub-directory with the key `from` ("a/b/") on.
  TreeWalk(TreeWalks& owner, uint64_t top, std::string prefix, const std::string& from);

  static constexpr size_t kAhead = 2;
  static constexpr int kPatience = 2;

  uint64_t top() const { return top_; }
  bool covers(const std::string& key) const {
    return key.size() > prefix_.size() && key.starts_with(prefix_);
  }
  // Somebody wants the directory: `wake` is called once it has come, or will not. False: it will not.
  bool await(const std::string& key, std::function<void()> wake);
  // Somebody took up the directory: the walk may go on from there.
  void reached(const std::string& key);
  // Nobody needs it: no further request.
  void stop();
  int64_t used_at_ns();

 private:
  struct Waiter {
    std::string key, end;
    std::function<void()> wake;
    int pages = 0;
  };
  enum class Fate : uint8_t { kGoesOn, kEnded, kUseless };

  bool should_ask() const REQUIRES(mu_);
  void ask_if_wanted();
  void on_page(Result<s3::ListPage> page, int64_t asked_at_ns);
  Fate merge(Result<s3::ListPage> page, int64_t asked_at_ns);
  Fate take_ready(std::vector<std::function<void()>>& wakes) REQUIRES(mu_);

  TreeWalks& owner_;
  NsContext& c_;
  const uint64_t top_;
  const std::string prefix_, start_after_;
  TreeMerge merge_;  // of the thread that brought the page: the next is asked when it is done

  Mutex mu_;
  std::string position_ GUARDED_BY(mu_);            // every directory before it is written down
  std::deque<std::string> unread_ GUARDED_BY(mu_);  // the last keys of the pages nobody has come to
  std::string token_ GUARDED_BY(mu_);
  std::vector<Waiter> waiters_ GUARDED_BY(mu_);
  int64_t used_at_ns_ GUARDED_BY(mu_);
  s3::RequestId request_ GUARDED_BY(mu_) = 0;
  int impatient_ GUARDED_BY(mu_) = 0;  // waiters in a row that went without
  bool in_flight_ GUARDED_BY(mu_) = false;
  bool background_ GUARDED_BY(mu_) = false;
  bool over_ GUARDED_BY(mu_) = false;
};

}  // namespace s3cache::core
