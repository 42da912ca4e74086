// TreeRename: a directory moves with everything below it.
//
// renames.h says what happens in which order; here is how: the source is listed flat while its pages' keys
// are copied, kLanes at a time. Memory: one small record a key until the old keys are deleted. Stages in the
// journal: 0 copying (resumed after a crash, what is there already is not copied again), 1 moved, the old
// keys go (only those that are still the version that was copied), 2 given up, the copies go. Threads: any;
// no lock over requests and callbacks. Errors: those of Renames.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/object_copy.h"
#include "core/removals.h"

namespace s3cache::core {

class TreeRename {
 public:
  TreeRename(ChangeContext& context, Removals& removals, ObjectCopier& copier)
      : c_(context), removals_(removals), copier_(copier) {}

  // The intent names both places and the directory's inode; `target`: an empty directory that gives way.
  void rename(const meta::Intent& intent, uint64_t target, Callback<void> done);
  void resume(uint64_t seq, const meta::Intent& intent);

 private:
  static constexpr size_t kLanes = 48;
  static constexpr size_t kAhead = 4000;  // listed and not yet copied
  static constexpr int kMaxTries = 4;
  static constexpr uint64_t kRemoved = UINT64_MAX;
  struct Item;
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void save_drafts(const JobPtr& job);
  void enlist(const JobPtr& job);
  void close_gate(const JobPtr& job);
  void begin(const JobPtr& job);
  void copy_all(const JobPtr& job);
  void list(const JobPtr& job);
  void listed(const JobPtr& job, s3::ListPage page);
  void pump(const JobPtr& job);
  void copy(const JobPtr& job, size_t index);
  void copied(const JobPtr& job, size_t index, const Result<s3::Written>& written);
  void ask_again(const JobPtr& job, size_t index);
  void check_end(const JobPtr& job);
  void make_marker(const JobPtr& job);
  uint64_t ino_of(const JobPtr& job, const std::string& key);
  void move(const JobPtr& job);
  void update_children(const JobPtr& job);
  void tell_open_files(const JobPtr& job);
  void moved(const JobPtr& job);
  void remove_source(const JobPtr& job);
  void list_source(const JobPtr& job);
  void remove_batch(const JobPtr& job, size_t from, int tries, InodeQueue::Turn turn);
  void give_up(const JobPtr& job);
  void take_back(const JobPtr& job);
  void end(const JobPtr& job, const Status& status);
  // Every object below `prefix`, page by page.
  void list_all(const std::string& prefix, Callback<std::map<std::string, s3::ListedObject>> done);

  ChangeContext& c_;
  Removals& removals_;
  ObjectCopier& copier_;
};

}  // namespace s3cache::core
