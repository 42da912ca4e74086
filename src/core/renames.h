// Renames: a name moves; on S3 that is a copy and a deletion, or as many as a directory has keys.
//
// A file S3 never had moves in the records only, unless it replaces one that S3 has: it is sent first. Else:
// both names are pinned and in the journal, the object is copied (its version insisted on), the record moves
// to the new name with st_ino, version and cached pages, and the old object is deleted as unlink does. A
// directory: what is under way below it ends, new changes below wait (InodeQueue's gate), every key is
// copied, side by side; then one record moves, as children hang on its number, and the old keys go. It is
// readable at its old place until then. A copy that fails takes the others back. After a crash a half-copied
// directory is carried on: nobody was told either way.
//
// Threads: any; no lock over requests and callbacks. Errors: those of Mutations; kExists (RENAME_NOREPLACE),
// kNotEmpty, kIsDirectory, kNotDirectory, kInvalid (into itself), kUnsupported (RENAME_EXCHANGE).
#pragma once

#include <memory>
#include <string>

#include "core/object_copy.h"
#include "core/removals.h"

namespace s3cache::core {

class TreeRename;

class Renames {
 public:
  Renames(ChangeContext& context, Removals& removals);
  ~Renames();

  void rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name, unsigned flags,
              Callback<void> done);
  // At replay.
  void resume(uint64_t seq, const meta::Intent& intent);

 private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void judge(const JobPtr& job, const ChangeContext::Place& source, const ChangeContext::Place& target);
  bool on_s3(uint64_t ino, const meta::Inode& inode);
  bool moves_locally(const Job& job, const meta::Inode& inode);
  void save(const JobPtr& job);
  void enlist(const JobPtr& job);
  void begin(const JobPtr& job);
  void move_local(const JobPtr& job);
  void hold(const JobPtr& job);
  void copy(const JobPtr& job);
  void copied(const JobPtr& job, const Result<s3::Written>& written);
  void move(const JobPtr& job, const std::string& etag, int64_t last_modified);
  void look(const JobPtr& job);
  void again(const JobPtr& job);
  void fail(const JobPtr& job, const Error& error);
  void end(const JobPtr& job, const Status& status);

  ChangeContext& c_;
  Removals& removals_;
  ObjectCopier copier_;
  const std::unique_ptr<TreeRename> trees_;
};

}  // namespace s3cache::core
