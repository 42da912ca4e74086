// View and LmdbSnapshot: the overlay and LMDB at one moment, merged.
//
// The moment is the position `seq` in the order of apply(). The committing generation lies wholly before it;
// of the collecting one the batches up to it count; the read transaction was begun under the same hold of the
// view lock, so it holds at most what the committing generation repeats. Threads: one at a time. Owns: its
// share of the generations, the read transaction.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "meta/lmdb_env.h"
#include "meta/overlay.h"
#include "meta/view_lock.h"

namespace s3cache::meta {

struct View {
  std::shared_ptr<const Generation> committing, collecting;  // null: nothing there
  uint64_t seq = 0;
  std::optional<Error> failed;  // no transaction: every read answers this
  LmdbEnv::ReadTxn txn;
};

// What is not an answer when the disk holds it no more: these are kCorrupt, everything else is absent.
inline bool irreplaceable(Table table) {
  return table == Table::kState || table == Table::kJournal || table == Table::kDirty;
}

// A kDir from before the store started over would make the names it lost absent.
bool outdated(const LmdbEnv& env, Table table, const std::optional<std::string>& value);

// kCorrupt for what waited for upload once there was damage.
Status lost(const LmdbEnv& env, Table table);

// LMDB alone.
Result<std::optional<std::string>> read_record(const LmdbEnv& env, MDB_txn* txn, Table table,
                                               std::string_view key);

class LmdbSnapshot : public MetaStore::Snapshot {
 public:
  LmdbSnapshot(const LmdbEnv& env, ViewLock& lock, View view)
      : env_(env), lock_(lock), view_(std::move(view)) {}
  Result<std::optional<std::string>> get(Table table, std::string_view key) override;
  Status scan(Table table, std::string_view from, std::string_view prefix, size_t limit,
              const MetaStore::Visit& visit) override;

 private:
  Result<std::optional<std::string>> find(Table table, std::string_view key);

  const LmdbEnv& env_;
  ViewLock& lock_;
  const View view_;
};

}  // namespace s3cache::meta
