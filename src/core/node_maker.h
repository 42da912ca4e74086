// NodeMaker: mkdir, mknod and symlink: names that are an object from the start.
//
// The records first, pinned, so that lookups meanwhile find them; then one PUT, If-None-Match where the
// server knows it. A PUT whose answer was lost and is repeated inside the client meets its own object:
// kExists is looked at once more. Default: the caller hears what S3 said, and a name S3 refused is taken
// back. writeback: the caller is answered when the intent is durable, and the PUT repeated for ever. Threads:
// any. Errors: those of Mutations.
#pragma once

#include <memory>
#include <string>

#include "core/removals.h"

namespace s3cache::core {

class NodeMaker {
 public:
  NodeMaker(ChangeContext& context, Removals& removals) : c_(context), removals_(removals) {}

  // The kind of node is in node.mode's type bits. `target`: of a symlink.
  void make(uint64_t parent, std::string name, NewNode node, std::string target, Callback<Entry> done);
  // At replay: `seq` is in the journal.
  void resume(uint64_t seq, const meta::Intent& intent);

 private:
  struct Making;
  using MakingPtr = std::shared_ptr<Making>;

  void write_records(const MakingPtr& making, const meta::Inode& inode, const meta::Ext& ext);
  void enlist(const MakingPtr& making);
  void put(const MakingPtr& making);
  void removed(const MakingPtr& making, const meta::Inode& inode);
  void on_put(const MakingPtr& making, const std::string& key, const s3::SentHeaders& headers,
              const Result<s3::Written>& written);
  void look(const MakingPtr& making, const std::string& key, const s3::SentHeaders& headers,
            const Error& error);
  void confirm(const MakingPtr& making, const std::string& etag, int64_t last_modified);
  void failed(const MakingPtr& making, const Error& error);

  ChangeContext& c_;
  Removals& removals_;
};

}  // namespace s3cache::core
