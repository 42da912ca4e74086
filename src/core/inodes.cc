#include "core/inodes.h"

#include <memory>
#include <string>

namespace s3cache::core {

using meta::Inode;
using meta::Table;

namespace {
// An S3 key has at most 1,024 bytes, so no path has more than 512 components; a longer chain is a cycle.
constexpr int kMaxDepth = 512;

Error no_path(uint64_t ino) {
  return {Code::kNotFound, "inode " + std::to_string(ino) + " has no path any more"};
}
}  // namespace

Inodes::Inodes(meta::MetaStore& store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {
  auto root = store_.get(Table::kInode, meta::id_key(meta::kRootIno));
  if (root.ok() && root->has_value()) return;
  Inode inode;
  inode.kind = meta::Kind::kDirectory;
  inode.kind_known = true;
  inode.implicit_dir = true;
  meta::Batch batch;
  batch.put(Table::kInode, meta::id_key(meta::kRootIno), inode.encode());
  store_.apply(std::move(batch));
}

Result<Inode> Inodes::get(uint64_t ino) {
  auto value = store_.get(Table::kInode, meta::id_key(ino));
  if (!value.ok()) return value.error();
  if (!value->has_value()) return Error{Code::kNotFound, ("inode " + std::to_string(ino)) + " is not known"};
  auto inode = Inode::decode(**value);
  if (!inode) return Error{Code::kCorrupt, ("inode " + std::to_string(ino)) + " has an unreadable record"};
  return std::move(*inode);
}

Result<Inode> Inodes::update(uint64_t ino, const Change& change) { return update(ino, change, nullptr); }

Result<Inode> Inodes::update(uint64_t ino, const Change& change, meta::MetaStore::Durable durable) {
  MutexLock lock(stripe(ino));
  auto inode = get(ino);
  if (!inode.ok()) return inode;
  meta::Batch batch;
  if (!change(*inode, batch)) return inode;
  batch.put(Table::kInode, meta::id_key(ino), inode->encode());
  store_.apply(std::move(batch), std::move(durable));
  return inode;
}

void Inodes::remove_locked(uint64_t ino, meta::Batch batch) {
  for (const Table table : {Table::kInode, Table::kExt, Table::kDir}) batch.erase(table, meta::id_key(ino));
  store_.apply(std::move(batch));
}

void Inodes::remove(uint64_t ino, meta::Batch batch) {
  MutexLock lock(stripe(ino));
  remove_locked(ino, std::move(batch));
}

bool Inodes::remove_if(uint64_t ino, const std::function<bool(const Inode&)>& may, meta::Batch batch) {
  MutexLock lock(stripe(ino));
  const auto inode = get(ino);
  if (!inode.ok() || !may(*inode)) return false;
  remove_locked(ino, std::move(batch));
  return true;
}

Result<std::string> Inodes::key_of(uint64_t ino) {
  if (ino == meta::kRootIno) return prefix_;
  const auto inode = get(ino);
  if (inode.is(Code::kNotFound) || inode.is(Code::kCorrupt)) return no_path(ino);
  if (!inode.ok()) return inode.error();
  return key_of(ino, *inode);
}

Result<std::string> Inodes::key_of(uint64_t ino, const Inode& inode) {
  std::vector<std::string> names{inode.name};
  std::unique_ptr<meta::MetaStore::Snapshot> snapshot;
  for (uint64_t at = inode.parent; at != meta::kRootIno;) {
    if (!snapshot) snapshot = store_.snapshot();
    auto value = snapshot->get(Table::kInode, meta::id_key(at));
    if (!value.ok()) return value.error();
    auto above = value->has_value() ? Inode::decode(**value) : std::nullopt;
    if (!above || names.size() >= kMaxDepth) return no_path(ino);
    names.push_back(std::move(above->name));
    at = above->parent;
  }
  std::string key = prefix_;
  for (auto it = names.rbegin(); it != names.rend(); ++it) {
    if (it != names.rbegin()) key += '/';
    key += *it;
  }
  if (inode.kind == meta::Kind::kDirectory) key += '/';
  return key;
}

void Inodes::note_tree_move(uint64_t dir, int64_t now_ns) {
  MutexLock lock(moves_mu_);
  moves_.emplace_back(dir, now_ns);
  if (moves_.size() > kMoves) moves_.pop_front();
}

bool Inodes::tree_moved_since(uint64_t dir, int64_t asked_at_ns) {
  std::vector<uint64_t> moved;
  {
    MutexLock lock(moves_mu_);
    for (const auto& [ino, at_ns] : moves_) {
      if (at_ns > asked_at_ns) moved.push_back(ino);
    }
  }
  for (const uint64_t ino : moved) {
    if (is_below(dir, ino)) return true;
  }
  return false;
}

bool Inodes::is_below(uint64_t ino, uint64_t dir) {
  for (int depth = 0; depth <= kMaxDepth; depth++) {
    if (ino == dir) return true;
    if (ino == meta::kRootIno) return false;
    const auto inode = get(ino);
    if (!inode.ok()) return false;
    ino = inode->parent;
  }
  return false;
}

Result<std::string> Inodes::child_key(uint64_t parent, std::string_view name) {
  auto key = key_of(parent);
  if (!key.ok()) return key;
  return *key + std::string(name);
}

}  // namespace s3cache::core
