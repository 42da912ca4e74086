#include "meta/lmdb_store.h"

#include "base/bytes.h"
#include "base/log.h"
#include "meta/records.h"

namespace s3cache::meta {
namespace {

constexpr size_t kMaxPendingBytes = 64 << 20;
constexpr size_t kMaxKey = 511;  // LMDB's compiled-in limit

}  // namespace

void Batch::put(Table table, std::string key, std::string value) {
  ops_.push_back({table, std::move(key), std::move(value)});
}

void Batch::erase(Table table, std::string key) { ops_.push_back({table, std::move(key), std::nullopt}); }

Result<std::unique_ptr<MetaStore>> MetaStore::open(const Options& options) {
  return LmdbStore::open(options, nullptr);
}

Result<std::unique_ptr<MetaStore>> LmdbStore::open(const Options& options, LmdbEnv::Fault fault) {
  auto env = LmdbEnv::open(options, std::move(fault));
  if (!env.ok()) return env.error();
  Result<uint64_t> next_id = stored_next_id(**env);
  if (!next_id.ok()) return next_id.error();
  return std::unique_ptr<MetaStore>(new LmdbStore(std::move(*env), *next_id));
}

Result<uint64_t> LmdbStore::stored_next_id(LmdbEnv& env) {
  auto txn = env.begin_read();
  if (!txn->ok()) return txn->error();
  auto stored = read_record(env, (*txn)->get(), Table::kState, IdAllocator::kKey);
  if (!stored.ok()) return stored.error();
  if (!*stored) return IdAllocator::kFirst;
  const std::string& text = **stored;
  if (text.size() != 8 || read_be64(text) < IdAllocator::kFirst) {
    return Error{Code::kCorrupt, "metadata store " + env.path() + ": the number counter is damaged"};
  }
  return read_be64(text);
}

LmdbStore::LmdbStore(std::unique_ptr<LmdbEnv> env, uint64_t next_id)
    : env_(std::move(env)), ids_(*this, next_id), collecting_(std::make_shared<Generation>()) {
  env_->on_damage([this] { return first_records(); }, [this] { wake_for_damage(); });
  writer_ = std::thread([this] { run(); });
}

LmdbStore::~LmdbStore() {
  {
    MutexLock l(mu_);
    stop_ = true;
    work_cv_.notify_all();
  }
  writer_.join();
}

Status LmdbStore::check(const Batch& batch) const {
  if (env_->read_only()) return Error{Code::kReadOnly, "metadata store " + env_->path() + " is read-only"};
  for (const Batch::Op& op : batch.ops()) {
    if (Status s = lost(*env_, op.table); !s.ok() && op.value) return s;
    if (op.key.empty() || op.key.size() > kMaxKey || static_cast<int>(op.table) >= kTableCount) {
      return Error{Code::kInvalid, "metadata key of " + std::to_string(op.key.size()) + " bytes"};
    }
  }
  return {};
}

void LmdbStore::apply(Batch batch, Durable durable) {
  if (batch.empty() && !durable) return;
  auto pending = std::make_shared<Pending>();
  pending->verdict = check(batch);
  if (pending->verdict.ok()) pending->batch = std::move(batch);
  pending->durable = std::move(durable);
  pending->bytes = batch_bytes(pending->batch);
  const bool urgent = pending->durable != nullptr;
  if (!pending->verdict.ok() && !urgent) {
    log::error("{}: a batch is dropped", pending->verdict.error().message);
    return;
  }
  wait_for_room(pending->bytes, urgent);
  {
    ViewExclusive l(view_);
    pending->seq = ++last_seq_;
    collecting_->add(std::move(pending));
  }
  wake_writer(urgent);
}

void LmdbStore::wait_for_room(size_t bytes, bool durable) {
  MutexLock l(mu_);
  if (pending_bytes_ > kMaxPendingBytes && !on_writer_thread() && !env_->this_thread_reads()) {
    while (pending_bytes_ > kMaxPendingBytes && !(durable && retained_)) room_cv_.wait(mu_);
  }
  pending_bytes_ += bytes;
}

Status LmdbStore::apply_durable(Batch batch) {
  if (on_writer_thread()) return Error{Code::kInvalid, "a durability callback waits for durability"};
  struct Waiter {
    Mutex mu;
    CondVar cv;
    bool done GUARDED_BY(mu) = false;
    Status status GUARDED_BY(mu);
  } w;
  apply(std::move(batch), [&w](Status status) {
    MutexLock l(w.mu);
    w.status = std::move(status);
    w.done = true;
    w.cv.notify_all();  // under the lock: the waiter's stack is gone right after
  });
  MutexLock l(w.mu);
  while (!w.done) w.cv.wait(w.mu);
  return w.status;
}

Status LmdbStore::flush() { return apply_durable(Batch()); }

Status LmdbStore::health() const {
  MutexLock l(mu_);
  return health_;
}

View LmdbStore::take_view() const {
  for (;;) {
    {
      ViewShared l(view_);
      auto txn = env_->begin_read();
      if (txn) {
        View v;
        v.seq = last_seq_;
        v.committing = committing_;
        if (!collecting_->empty()) {
          collecting_->pin(last_seq_);
          v.collecting = collecting_;
        }
        if (txn->ok()) {
          v.txn = std::move(**txn);
        } else {
          v.failed = txn->error();  // a later get() or commit reports it: the lock is held here
        }
        return v;
      }
    }
    env_->wait_gate();
  }
}

// The numbers go on where they were: files of the old ones are still there. And everything hangs on the root.
Batch LmdbStore::first_records() {
  Batch b;
  b.put(Table::kState, std::string(IdAllocator::kKey), be64(ids_.limit()));
  auto root = get(Table::kInode, id_key(kRootIno));
  if (root.ok() && *root) {
    b.put(Table::kInode, id_key(kRootIno), std::move(**root));
    return b;
  }
  Inode inode;
  inode.kind = Kind::kDirectory;
  inode.kind_known = inode.implicit_dir = true;
  b.put(Table::kInode, id_key(kRootIno), inode.encode());
  return b;
}

Result<std::optional<std::string>> LmdbStore::get(Table table, std::string_view key) {
  if (Status s = lost(*env_, table); !s.ok()) return s.error();
  auto value = find(table, key);
  if (value.ok() && outdated(*env_, table, *value)) return std::optional<std::string>();
  return value;
}

Result<std::optional<std::string>> LmdbStore::find(Table table, std::string_view key) {
  for (;;) {
    std::optional<Result<LmdbEnv::ReadTxn>> txn;
    {
      ViewShared l(view_);
      for (const Generation* g : {collecting_.get(), committing_.get()}) {
        if (g == nullptr || g->empty()) continue;
        if (const Batch::Op* op = g->find(table, key, last_seq_)) return op->value;
      }
      txn = env_->begin_read();
    }
    if (!txn) {
      env_->wait_gate();
      continue;
    }
    if (!txn->ok()) {
      if (txn->is(Code::kCorrupt)) env_->report_damage(txn->error().message);
      return txn->error();
    }
    return read_record(*env_, (*txn)->get(), table, key);
  }
}

Status LmdbStore::scan(Table table, std::string_view from, std::string_view prefix, size_t limit,
                       const Visit& visit) {
  return LmdbSnapshot(*env_, view_, take_view()).scan(table, from, prefix, limit, visit);
}

std::unique_ptr<MetaStore::Snapshot> LmdbStore::snapshot() {
  return std::make_unique<LmdbSnapshot>(*env_, view_, take_view());
}

Result<uint64_t> LmdbStore::next_id() { return ids_.next(!on_writer_thread()); }

StoreStats LmdbStore::stats() const {
  StoreStats s;
  s.commits = commits_.load();
  s.ops_committed = ops_committed_.load();
  s.failed_commits = failed_commits_.load();
  s.map_bytes = env_->map_bytes();
  s.file_bytes = file_disk_bytes(env_->path());
  const View view = take_view();
  if (!view.failed) {
    for (size_t t = 0; t < kTableCount; ++t) {
      MDB_stat st{};
      const MDB_dbi dbi = env_->dbi(static_cast<Table>(t));
      if (guarded([&] { return mdb_stat(view.txn.get(), dbi, &st); }) == 0) s.entries[t] = st.ms_entries;
    }
  }
  ViewShared l(view_);
  if (view.committing != nullptr) s.overlay_ops += view.committing->ops();
  if (view.collecting != nullptr) s.overlay_ops += view.collecting->ops();
  return s;
}

}  // namespace s3cache::meta
