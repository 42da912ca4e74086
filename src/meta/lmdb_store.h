// LmdbStore: MetaStore over LMDB, with an overlay of two generations and one committing thread.
//
// apply() adds to the collecting generation. The writer freezes it (it becomes the committing one), commits
// it sorted by key, and drops it under the view lock held exclusively. A reader takes both generations and
// begins its read transaction under one shared hold of that lock: what the overlay no longer has, the
// transaction has. After a failed commit the committing generation stays, without the batches somebody waited
// for, and is tried again before anything newer: on disk there is always a prefix of what was applied.
// Threads: as MetaStore says. view_ and mu_ are never held together, nor while calling out.
// Owns: environment, overlay, writer thread. Errors: MetaStore's. Units: bytes, milliseconds.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "base/sync.h"
#include "meta/id_allocator.h"
#include "meta/lmdb_env.h"
#include "meta/overlay.h"
#include "meta/snapshot.h"
#include "meta/view_lock.h"

namespace s3cache::meta {

class LmdbStore : public MetaStore {
 public:
  static Result<std::unique_ptr<MetaStore>> open(const Options& options, LmdbEnv::Fault fault);
  ~LmdbStore() override;

  void apply(Batch batch, Durable durable) override;
  Status apply_durable(Batch batch) override;
  Status flush() override;
  Status health() const override;
  Result<std::optional<std::string>> get(Table table, std::string_view key) override;
  Status scan(Table table, std::string_view from, std::string_view prefix, size_t limit,
              const Visit& visit) override;
  std::unique_ptr<Snapshot> snapshot() override;
  Result<uint64_t> next_id() override;
  StoreStats stats() const override;

 private:
  LmdbStore(std::unique_ptr<LmdbEnv> env, uint64_t next_id);
  static Result<uint64_t> stored_next_id(LmdbEnv& env);

  // Called by apply().
  void wait_for_room(size_t bytes, bool durable) EXCLUDES(mu_);
  void wake_writer(bool urgent) EXCLUDES(mu_);
  Status check(const Batch& batch) const;

  Batch first_records();
  void wake_for_damage() EXCLUDES(mu_);
  Result<std::optional<std::string>> find(Table table, std::string_view key) EXCLUDES(view_);
  View take_view() const EXCLUDES(view_);
  bool on_writer_thread() const { return std::this_thread::get_id() == writer_.get_id(); }

  // The writer thread.
  void run();
  bool wait_for_work() EXCLUDES(mu_);
  GenerationPtr freeze() EXCLUDES(view_);
  Status commit(const Generation& generation);
  int put_all(MDB_txn* txn, const Generation& generation) const;
  bool committed(GenerationPtr generation) EXCLUDES(view_, mu_);
  bool failed(const Error& error) EXCLUDES(view_, mu_);

  const std::unique_ptr<LmdbEnv> env_;
  IdAllocator ids_;
  std::atomic<uint64_t> commits_{0}, ops_committed_{0}, failed_commits_{0};

  mutable ViewLock view_;
  GenerationPtr collecting_ GUARDED_BY(view_);
  GenerationPtr committing_ GUARDED_BY(view_);  // null: none
  uint64_t last_seq_ GUARDED_BY(view_) = 0;

  mutable Mutex mu_;
  CondVar work_cv_, room_cv_;
  bool work_ GUARDED_BY(mu_) = false;    // something was applied since the last freeze
  bool urgent_ GUARDED_BY(mu_) = false;  // somebody waits for the disk
  bool stop_ GUARDED_BY(mu_) = false;
  bool start_over_ GUARDED_BY(mu_) = false;  // damage was found
  bool retained_ GUARDED_BY(mu_) = false;    // a failed generation waits for another try
  size_t pending_bytes_ GUARDED_BY(mu_) = 0;
  Status health_ GUARDED_BY(mu_);

  std::thread writer_;  // started last
};

}  // namespace s3cache::meta
