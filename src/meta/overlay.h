// Generation: batches that are applied but not yet on disk, indexed by (table, key).
//
// The store has two: one collects, one is being committed. Once frozen a generation never changes, and it
// lives as long as a snapshot points to it. While it collects, every key keeps the older operations that a
// living snapshot may still ask for (pin() says up to which batch), so a snapshot stays at its moment without
// a copy. Threads: add() needs the store's view lock exclusively, lookups need it shared as long as the
// generation collects. Pointers to operations stay valid as long as the generation lives. Owns: its batches
// (shared with a generation rebuilt from them). Units: bytes are keys, values and a guess of 160 for the
// bookkeeping of each.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "meta/meta_store.h"

namespace s3cache::meta {

// One call of apply().
struct Pending {
  Batch batch;
  MetaStore::Durable durable;
  Status verdict;  // not ok: the batch was refused by apply(), its operations are gone, the callback says why
  uint64_t seq = 0;  // position in the order of apply()
  size_t bytes = 0;
};
using PendingPtr = std::shared_ptr<Pending>;

size_t batch_bytes(const Batch& batch);

class Generation {
 public:
  // The operations of one key, newest first.
  struct Version {
    const Batch::Op* op = nullptr;
    uint64_t seq = 0;
    std::unique_ptr<Version> older;
    Version() = default;
    ~Version();  // one by one: a hot key under many snapshots makes a chain too long to recurse
    Version(const Version&) = delete;
    Version& operator=(const Version&) = delete;
    // The newest one not after seq, or null.
    const Batch::Op* at(uint64_t limit) const;
  };
  using Index = std::map<std::string_view, Version, std::less<>>;

  // REQUIRES: pending->seq is not below that of any batch added before.
  void add(PendingPtr pending);
  // A snapshot now reads the batches up to seq.
  void pin(uint64_t seq);

  // The newest operation on key in batches up to seq; null: none here.
  const Batch::Op* find(Table table, std::string_view key, uint64_t seq) const;
  const Index& index(Table table) const { return tables_[static_cast<size_t>(table)]; }

  const std::vector<PendingPtr>& pendings() const { return pendings_; }
  bool empty() const { return pendings_.empty(); }
  size_t ops() const { return ops_; }
  size_t bytes() const { return bytes_; }

 private:
  void add_op(const Batch::Op& op, uint64_t seq);

  std::atomic<uint64_t> pinned_seq_{0};
  std::array<Index, kTableCount> tables_;
  std::vector<PendingPtr> pendings_;
  size_t ops_ = 0, bytes_ = 0;
};
using GenerationPtr = std::shared_ptr<Generation>;

// What is left of a generation without the batches somebody waits for; those go to `dropped`, in their order.
GenerationPtr without_durables(const Generation& from, std::vector<PendingPtr>& dropped);

}  // namespace s3cache::meta
