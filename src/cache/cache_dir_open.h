// How CacheDir::open() finds, locks and prepares its folder. Private to the cache floor.
//
// Threads: one caller; another process may do the same at the same time (flock decides).
// Errors: as CacheDir::open().
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cache/cache_dir.h"

namespace s3cache::cache {

inline constexpr std::string_view kTrashPrefix = "trash-";

// Removes what a failed open() made, the newest first, unless keep() was called.
class Undo {
 public:
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo();
  void made(std::string path) { made_.push_back(std::move(path)); }
  // A share of the folder's lock, so that it outlives the removal: nobody may settle in a folder that is
  // being removed.
  void hold(int lock_fd) { lock_.reset(::dup(lock_fd)); }
  void keep() {
    made_.clear();
    lock_.reset();
  }

 private:
  std::vector<std::string> made_;
  UniqueFd lock_;
};

struct OpenedFolder {
  std::string path;
  UniqueFd lock;
  bool fresh = false;
};

// Makes or finds the folder, takes its lock, checks its version, rebuilds an older one, makes the data
// folders.
Result<OpenedFolder> open_folder(const CacheDirOptions& options, Undo& undo);

// Renames data/ and meta.mdb* into a new trash-<n>/.
Status move_aside(const std::string& folder);
// data/ and its 256 folders; what exists already is fine. `undo` may be null.
Status make_data_folders(const std::string& folder, Undo* undo);
void write_lock_pid(int lock_fd);

}  // namespace s3cache::cache
