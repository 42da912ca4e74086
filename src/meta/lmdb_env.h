// LmdbEnv: one LMDB environment with its tables, a pool of read transactions and one writer.
//
// It hides what LMDB asks of its users: a map that may grow only while no transaction lives, an environment
// that is dead after a failed write of its header (MDB_PANIC) and must be opened again, reader slots that are
// cheap to renew (0.1 us) and dear to make. Threads: begin_read() and the getters from any; write() from one
// thread only. Growing and opening again close a gate: new readers get nullopt and wait_gate(), except on a
// thread that has a live ReadTxn (it could never end).
//
// LMDB's assertions do not end the process (lmdb_guard.h): they, its codes of corruption and records that do
// not decode are damage. report_damage() leaves the mark, and the next write() starts over: an empty file
// with first_records() in it, at the same path. Owns: environment, table handles, read slots, the claim on
// the path. Errors: kNoSpace, kIo, kCorrupt, kNewerFormat, kBusy (readers did not end within 3 s),
// kAccessDenied, kReadOnly.
#pragma once

#include <lmdb.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/result.h"
#include "base/sync.h"
#include "meta/lmdb_guard.h"
#include "meta/meta_store.h"
#include "meta/store_file.h"

namespace s3cache::meta {

class LmdbEnv {
  struct Slot;

 public:
  // Faults for tests: called before each commit; a code other than 0 stands for the commit's.
  using Fault = std::function<int()>;

  static Result<std::unique_ptr<LmdbEnv>> open(const Options& options, Fault fault);
  ~LmdbEnv();
  LmdbEnv(const LmdbEnv&) = delete;
  LmdbEnv& operator=(const LmdbEnv&) = delete;

  // A live read transaction.
  class ReadTxn {
   public:
    ReadTxn() = default;
    ReadTxn(ReadTxn&& o) noexcept
        : env_(std::exchange(o.env_, nullptr)), slot_(std::exchange(o.slot_, nullptr)), txn_(o.txn_) {}
    ReadTxn& operator=(ReadTxn&& o) noexcept;
    ~ReadTxn() { end(); }
    MDB_txn* get() const { return txn_; }

   private:
    friend class LmdbEnv;
    void end();
    LmdbEnv* env_ = nullptr;
    Slot* slot_ = nullptr;  // null: not from the pool
    MDB_txn* txn_ = nullptr;
  };

  // nullopt: the gate is closed; drop every lock, wait_gate(), try again. Never blocks.
  std::optional<Result<ReadTxn>> begin_read();
  void wait_gate();

  // Runs `fill` in one write transaction and commits it, synced. `fill` answers an LMDB code and may run
  // again from the start (the map was full, the environment had to be opened again, the store started over).
  // It is run under guarded(): nothing with a destructor may live in it while it calls LMDB.
  Status write(const std::function<int(MDB_txn*)>& fill);

  // Both called without a lock held. `first_records`, on the writing thread: what an empty store must hold.
  // `on_damage`, on the thread that met it: wakes the writing thread for start_over().
  // REQUIRES: set before a second thread knows the environment.
  void on_damage(std::function<Batch()> first_records, std::function<void()> on_damage);
  // Writes the mark and one line, unless the damage is known.
  void report_damage(const std::string& what) const;
  static bool is_damage(int rc);
  // A record read from the disk is what this program writes there.
  bool credible(Table table, const MDB_val& key, const MDB_val& value) const;
  // Found and not yet behind us.
  bool damaged() const { return damaged_.load(); }
  // There has been damage since open(): what cannot be asked again is gone.
  bool was_damaged() const { return dirs_since_ns_.load() != 0; }
  // Wall clock; a kDir whose listing began earlier misses names. 0: there was no damage.
  int64_t dirs_since_ns() const { return dirs_since_ns_.load(); }
  // REQUIRES: the writing thread. No effect without damage.
  Status start_over();

  // True on a thread that began a ReadTxn still alive: it must not be made to wait for the writer.
  bool this_thread_reads() const;

  MDB_dbi dbi(Table table) const { return dbis_[static_cast<size_t>(table)]; }
  size_t map_bytes() const { return map_bytes_.load(std::memory_order_relaxed); }
  bool read_only() const { return read_only_; }
  const std::string& path() const { return path_; }

  // "get /x/meta.mdb: ..." with the code a caller can branch on.
  Error error(int rc, const char* what) const;

 private:
  struct alignas(64) Slot {
    std::atomic<bool> busy{false};
    std::atomic<std::thread::id> owner{};  // the thread that began the read; none when free
    MDB_txn* txn = nullptr;                // belongs to whoever set busy
  };
  // More threads than slots at one moment pay for a fresh transaction (2 us).
  static constexpr size_t kSlots = 32;

  LmdbEnv(const Options& options, Fault fault, OpenOnce claim);
  Status open_env();
  Status open_tables();
  Status check_format(MDB_txn* txn, MDB_dbi state, bool fresh) const;
  static Status check_before_use(const Options& options);
  void close_env();

  int write_once(const std::function<int(MDB_txn*)>& fill);
  Status grow();
  Status reopen();
  bool panicked();
  Status close_gate();
  void open_gate();
  bool any_reader() const;
  void release(Slot* slot, MDB_txn* txn);

  const std::string path_;
  const size_t initial_map_bytes_;
  const bool read_only_fallback_;
  const bool check_records_;
  const Fault fault_;
  const OpenOnce claim_;
  std::function<Batch()> first_records_;
  std::function<void()> on_damage_;
  std::atomic<size_t> map_bytes_{0};
  mutable std::atomic<bool> damaged_{false};
  mutable std::atomic<int64_t> dirs_since_ns_{0};

  // Changed only while the gate is closed and no reader lives.
  bool read_only_ = false;
  MDB_env* env_ = nullptr;
  std::array<MDB_dbi, kTableCount> dbis_{};

  std::array<Slot, kSlots> slots_;
  std::atomic<int> extra_readers_{0};
  std::atomic<bool> gate_closed_{false};
  Mutex gate_mu_;
  CondVar gate_cv_;  // a reader ended, or the gate opened
};

}  // namespace s3cache::meta
