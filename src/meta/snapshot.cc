#include "meta/snapshot.h"

#include <array>

#include "meta/records.h"

namespace s3cache::meta {
namespace {

constexpr size_t kMaxKey = 511;  // LMDB's compiled-in limit

std::string_view view_of(const MDB_val& v) { return {static_cast<const char*>(v.mv_data), v.mv_size}; }
MDB_val val_of(std::string_view s) { return {s.size(), const_cast<char*>(s.data())}; }

// Walks one table of a generation in key order, as of seq. Takes the lock for 64 entries at a time: apply()
// waits microseconds for a scan, and the visitor runs without any lock.
class OverlayCursor {
 public:
  OverlayCursor(ViewLock& lock, const Generation* generation, Table table, std::string_view start,
                std::string_view prefix, uint64_t seq)
      : lock_(lock), prefix_(prefix), seq_(seq) {
    if (generation == nullptr) return;
    index_ = &generation->index(table);
    {
      ViewShared l(lock_);
      next_ = index_->lower_bound(start);
    }
    fill();
  }

  bool valid() const { return at_ < count_; }
  std::string_view key() const { return buffer_[at_].key; }
  const Batch::Op* op() const { return buffer_[at_].op; }
  void advance() {
    if (++at_ == count_) fill();
  }

 private:
  struct Entry {
    std::string_view key;  // of an operation, which lives as long as its generation
    const Batch::Op* op;
  };

  void fill() {
    at_ = count_ = 0;
    while (count_ == 0 && index_ != nullptr) {
      ViewShared l(lock_);
      // Also at most 256 looked at: a stretch of entries newer than the snapshot must not hold the lock long.
      for (size_t seen = 0; seen < 256 && count_ < buffer_.size(); ++seen, ++next_) {
        if (next_ == index_->end() || !next_->first.starts_with(prefix_)) {
          index_ = nullptr;
          break;
        }
        const Batch::Op* op = next_->second.at(seq_);
        if (op != nullptr) buffer_[count_++] = {next_->first, op};
      }
    }
  }

  ViewLock& lock_;
  const std::string_view prefix_;
  const uint64_t seq_;
  const Generation::Index* index_ = nullptr;  // null: nothing more to fetch
  Generation::Index::const_iterator next_;    // insertions leave it valid
  std::array<Entry, 64> buffer_;
  size_t at_ = 0, count_ = 0;
};

// The same over LMDB. Owns its cursor.
class TableCursor {
 public:
  TableCursor(const LmdbEnv& env, MDB_txn* txn, Table table, std::string_view start, std::string_view prefix)
      : env_(env), table_(table), prefix_(prefix) {
    rc_ = guarded([&] { return mdb_cursor_open(txn, env.dbi(table), &cursor_); });
    if (rc_ != 0) return;
    key_ = val_of(start);
    step(start.empty() ? MDB_FIRST : MDB_SET_RANGE);
  }
  ~TableCursor() { mdb_cursor_close(cursor_); }
  TableCursor(const TableCursor&) = delete;
  TableCursor& operator=(const TableCursor&) = delete;

  bool valid() const { return rc_ == 0; }
  int failure() const { return rc_ == MDB_NOTFOUND ? 0 : rc_; }
  std::string_view key() const { return view_of(key_); }
  std::string_view value() const { return view_of(value_); }
  void advance() { step(MDB_NEXT); }

 private:
  void step(MDB_cursor_op op) {
    rc_ = guarded([&] { return mdb_cursor_get(cursor_, &key_, &value_, op); });
    if (rc_ == 0 && !key().starts_with(prefix_)) rc_ = MDB_NOTFOUND;
    if (rc_ == 0 && !env_.credible(table_, key_, value_)) rc_ = MDB_CORRUPTED;
  }
  const LmdbEnv& env_;
  const Table table_;
  const std::string_view prefix_;
  MDB_cursor* cursor_ = nullptr;
  MDB_val key_{}, value_{};
  int rc_ = 0;
};

}  // namespace

bool outdated(const LmdbEnv& env, Table table, const std::optional<std::string>& value) {
  if (table != Table::kDir || !env.was_damaged() || !value) return false;
  const auto dir = Dir::decode(*value);
  return !dir || dir->listed_at_ns < env.dirs_since_ns();
}

Result<std::optional<std::string>> read_record(const LmdbEnv& env, MDB_txn* txn, Table table,
                                               std::string_view key) {
  if (key.empty() || key.size() > kMaxKey) return std::optional<std::string>();
  MDB_val k = val_of(key), v{};
  int rc = guarded([&] { return mdb_get(txn, env.dbi(table), &k, &v); });
  if (rc == 0 && !env.credible(table, k, v)) rc = MDB_CORRUPTED;
  if (rc == 0) return std::optional<std::string>(view_of(v));
  if (rc == MDB_NOTFOUND) return std::optional<std::string>();
  if (LmdbEnv::is_damage(rc)) {
    env.report_damage(env.error(rc, "get").message);
    if (!irreplaceable(table)) return std::optional<std::string>();
  }
  return env.error(rc, "get");
}

Status lost(const LmdbEnv& env, Table table) {
  if ((table != Table::kJournal && table != Table::kDirty) || !env.was_damaged()) return {};
  return Error{Code::kCorrupt,
               "metadata store " + env.path() + " was damaged: what waited for upload is in doubt"};
}

Result<std::optional<std::string>> LmdbSnapshot::get(Table table, std::string_view key) {
  if (view_.failed) return *view_.failed;
  if (Status s = lost(env_, table); !s.ok()) return s.error();
  auto value = find(table, key);
  if (value.ok() && outdated(env_, table, *value)) return std::optional<std::string>();
  return value;
}

Result<std::optional<std::string>> LmdbSnapshot::find(Table table, std::string_view key) {
  if (view_.committing != nullptr || view_.collecting != nullptr) {
    ViewShared l(lock_);
    for (const auto& generation : {view_.collecting.get(), view_.committing.get()}) {
      if (generation == nullptr) continue;
      if (const Batch::Op* op = generation->find(table, key, view_.seq)) return op->value;
    }
  }
  return read_record(env_, view_.txn.get(), table, key);
}

Status LmdbSnapshot::scan(Table table, std::string_view from, std::string_view prefix, size_t limit,
                          const MetaStore::Visit& visit) {
  if (view_.failed) return *view_.failed;
  if (Status s = lost(env_, table); !s.ok()) return s;
  const std::string_view start = std::max(from, prefix);
  if (start.size() > kMaxKey) return {};
  OverlayCursor newest(lock_, view_.collecting.get(), table, start, prefix, view_.seq);
  OverlayCursor newer(lock_, view_.committing.get(), table, start, prefix, view_.seq);
  TableCursor stored(env_, view_.txn.get(), table, start, prefix);
  while (limit > 0) {
    // The smallest key of the three; the newest of equal ones counts.
    const Batch::Op* op = nullptr;
    std::string_view key;
    bool found = false;
    if (newest.valid()) {
      key = newest.key();
      op = newest.op();
      found = true;
    }
    if (newer.valid() && (!found || newer.key() < key)) {
      key = newer.key();
      op = newer.op();
      found = true;
    }
    if (stored.valid() && (!found || stored.key() < key)) {
      key = stored.key();
      op = nullptr;
      found = true;
    }
    if (!found) break;
    if (op == nullptr || op->value) {
      --limit;
      if (!visit(key, op == nullptr ? stored.value() : std::string_view(*op->value))) return {};
    }
    // Overlay keys last: `key` may be a view of them (it outlives the step) or of the map's page.
    const bool step_newest = newest.valid() && newest.key() == key;
    const bool step_newer = newer.valid() && newer.key() == key;
    if (stored.valid() && stored.key() == key) stored.advance();
    if (step_newest) newest.advance();
    if (step_newer) newer.advance();
  }
  const int rc = stored.failure();
  if (rc == 0) return {};
  if (LmdbEnv::is_damage(rc)) {
    env_.report_damage(env_.error(rc, "scan").message);
    // Half a directory would be taken for the whole.
    if (!irreplaceable(table) && table != Table::kDirent) return {};
  }
  return env_.error(rc, "scan");
}

}  // namespace s3cache::meta
