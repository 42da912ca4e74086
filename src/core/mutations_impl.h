// MutationsImpl: the parts of Mutations put together.
//
// Threads, errors: as in mutations.h. REQUIRES: no request is in flight when it is destroyed
// (S3Client::shutdown() comes first), as requests call back into it.
#pragma once

#include <memory>
#include <string>

#include "core/attr_changes.h"
#include "core/node_maker.h"
#include "core/renames.h"

namespace s3cache::core {

class MutationsImpl : public Mutations {
 public:
  MutationsImpl(Inodes& inodes, Namespace& names, s3::S3Client& s3, DraftHost& drafts, InodeQueue& queue,
                ChangeListener* listener, Clock& clock, const NamespaceOptions& names_options,
                const UploadOptions& options);
  ~MutationsImpl() override { c_.stop(); }

  void create(uint64_t parent, std::string name, NewNode node, bool exclusive,
              Callback<NewFile> done) override;
  void uploaded(uint64_t ino) override { c_.edits.uploaded(ino); }
  void setattr(uint64_t ino, SetAttr what, Callback<Entry> done) override;
  void mkdir(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) override;
  void mknod(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) override;
  void symlink(uint64_t parent, std::string name, std::string target, NewNode node,
               Callback<Entry> done) override;
  void unlink(uint64_t parent, std::string name, Callback<void> done) override;
  void rmdir(uint64_t parent, std::string name, Callback<void> done) override;
  void rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name, unsigned flags,
              Callback<void> done) override;
  void setxattr(uint64_t ino, std::string name, std::string value, int flags, Callback<void> done) override;
  void removexattr(uint64_t ino, std::string name, Callback<void> done) override;
  void settle(Callback<void> done) override;
  void retry_now() override { c_.delayed.hurry(); }
  void report(Stats& stats) override { c_.ledger.report(stats); }
  void replay() override;

 private:
  void existing(const ChangeContext::Place& place, bool exclusive, const Callback<NewFile>& done);
  void resume(uint64_t seq, const meta::Intent& intent);
  void resume_lost(uint64_t seq, const meta::Intent& intent);
  // With update_parent_dir_stat: the directory's mtime and ctime are now.
  template <class T>
  Callback<T> touching(uint64_t parent, Callback<T> done);

  ChangeContext c_;
  Removals removals_;
  NodeMaker maker_;
  AttrChanges attributes_;
  Renames renames_;
};

}  // namespace s3cache::core
