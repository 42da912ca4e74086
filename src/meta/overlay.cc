#include "meta/overlay.h"

#include <utility>

namespace s3cache::meta {
namespace {
constexpr size_t kOpOverhead = 160;  // the op's two strings, its node in the index, the allocator's headers
}  // namespace

size_t batch_bytes(const Batch& batch) {
  size_t n = sizeof(Pending);
  for (const Batch::Op& op : batch.ops())
    n += kOpOverhead + op.key.size() + (op.value ? op.value->size() : 0);
  return n;
}

Generation::Version::~Version() {
  while (older != nullptr) older = std::move(older->older);
}

const Batch::Op* Generation::Version::at(uint64_t limit) const {
  for (const Version* v = this; v != nullptr; v = v->older.get()) {
    if (v->seq <= limit) return v->op;
  }
  return nullptr;
}

void Generation::add(PendingPtr pending) {
  for (const Batch::Op& op : std::as_const(pending->batch).ops()) add_op(op, pending->seq);
  ops_ += pending->batch.size();
  bytes_ += pending->bytes;
  pendings_.push_back(std::move(pending));
}

void Generation::add_op(const Batch::Op& op, uint64_t seq) {
  Index& index = tables_[static_cast<size_t>(op.table)];
  // Listings come sorted: the end is the right hint for nearly all of them, and costs one comparison
  // otherwise.
  const size_t before = index.size();
  auto it = index.try_emplace(index.end(), op.key);
  Version& v = it->second;
  if (index.size() == before && v.seq <= pinned_seq_.load(std::memory_order_relaxed)) {
    auto kept = std::make_unique<Version>();
    kept->op = v.op;
    kept->seq = v.seq;
    kept->older = std::move(v.older);
    v.older = std::move(kept);
  }
  v.op = &op;
  v.seq = seq;
}

void Generation::pin(uint64_t seq) {
  // Under the view lock held shared: several snapshots at once, but no add().
  uint64_t seen = pinned_seq_.load(std::memory_order_relaxed);
  while (seen < seq && !pinned_seq_.compare_exchange_weak(seen, seq, std::memory_order_relaxed)) {
  }
}

const Batch::Op* Generation::find(Table table, std::string_view key, uint64_t seq) const {
  const Index& idx = index(table);
  const auto it = idx.find(key);
  return it == idx.end() ? nullptr : it->second.at(seq);
}

GenerationPtr without_durables(const Generation& from, std::vector<PendingPtr>& dropped) {
  auto rest = std::make_shared<Generation>();
  for (const PendingPtr& p : from.pendings()) {
    if (p->durable) {
      dropped.push_back(p);
    } else {
      rest->add(p);
    }
  }
  return rest;
}

}  // namespace s3cache::meta
