#include "meta/lmdb_env.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

namespace s3cache::meta {
namespace {

constexpr auto kReaderPatience = std::chrono::seconds(3);

}  // namespace

bool LmdbEnv::this_thread_reads() const {
  const auto self = std::this_thread::get_id();
  return std::ranges::any_of(slots_, [&](const Slot& s) { return s.owner.load() == self; });
}

LmdbEnv::ReadTxn& LmdbEnv::ReadTxn::operator=(ReadTxn&& o) noexcept {
  if (this != &o) {
    end();
    env_ = std::exchange(o.env_, nullptr);
    slot_ = std::exchange(o.slot_, nullptr);
    txn_ = o.txn_;
  }
  return *this;
}

void LmdbEnv::ReadTxn::end() {
  if (env_ == nullptr) return;
  std::exchange(env_, nullptr)->release(slot_, txn_);
}

std::optional<Result<LmdbEnv::ReadTxn>> LmdbEnv::begin_read() {
  const size_t start = std::hash<std::thread::id>{}(std::this_thread::get_id());
  Slot* slot = nullptr;
  for (size_t i = 0; i < kSlots && slot == nullptr; ++i) {
    Slot& s = slots_[(start + i) % kSlots];
    if (!s.busy.load(std::memory_order_relaxed) && !s.busy.exchange(true)) slot = &s;
  }
  if (slot == nullptr) extra_readers_.fetch_add(1);
  // Announced first, gate second (both sequentially consistent): the writer closes the gate first and looks
  // for readers second, so one of the two always sees the other.
  if (gate_closed_.load() && !this_thread_reads()) {
    release(slot, nullptr);
    return std::nullopt;
  }
  if (slot != nullptr) slot->owner.store(std::this_thread::get_id(), std::memory_order_relaxed);
  MDB_txn* txn = slot != nullptr ? slot->txn : nullptr;
  int rc = MDB_PANIC;
  if (txn != nullptr) {
    rc = guarded([&] { return mdb_txn_renew(txn); });
  } else if (env_ != nullptr) {
    MDB_envinfo info;
    rc = guarded([&] { return mdb_env_info(env_, &info); });  // a jump out of the begin would leak it
    if (rc == 0) rc = guarded([&] { return mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn); });
    if (rc == 0 && slot != nullptr) slot->txn = txn;
  }
  if (rc != 0) {
    release(slot, nullptr);
    return Result<ReadTxn>(error(rc, "read"));
  }
  ReadTxn r;
  r.env_ = this;
  r.slot_ = slot;
  r.txn_ = txn;
  return Result<ReadTxn>(std::move(r));
}

// txn is null when none was begun.
void LmdbEnv::release(Slot* slot, MDB_txn* txn) {
  if (slot != nullptr) {
    if (txn != nullptr) mdb_txn_reset(txn);
    slot->owner.store(std::thread::id(), std::memory_order_relaxed);  // before busy: never another's stale id
    slot->busy.store(false);
  } else {
    if (txn != nullptr) mdb_txn_abort(txn);
    extra_readers_.fetch_sub(1);
  }
  if (gate_closed_.load()) {
    MutexLock l(gate_mu_);
    gate_cv_.notify_all();
  }
}

bool LmdbEnv::any_reader() const {
  if (extra_readers_.load() != 0) return true;
  return std::ranges::any_of(slots_, [](const Slot& s) { return s.busy.load(); });
}

void LmdbEnv::wait_gate() {
  MutexLock l(gate_mu_);
  while (gate_closed_.load()) gate_cv_.wait(gate_mu_);
}

Status LmdbEnv::close_gate() {
  const auto deadline = std::chrono::steady_clock::now() + kReaderPatience;
  MutexLock l(gate_mu_);
  gate_closed_.store(true);
  while (any_reader()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      gate_closed_.store(false);
      gate_cv_.notify_all();
      return Error{Code::kBusy, "metadata store " + path_ + ": a reader did not end"};
    }
    gate_cv_.wait_for(gate_mu_, std::chrono::milliseconds(100));
  }
  return {};
}

void LmdbEnv::open_gate() {
  MutexLock l(gate_mu_);
  gate_closed_.store(false);
  gate_cv_.notify_all();
}

int LmdbEnv::write_once(const std::function<int(MDB_txn*)>& fill) {
  if (env_ == nullptr) return MDB_PANIC;
  MDB_txn* txn = nullptr;
  MDB_envinfo info;
  // Meets headers that are not there any more before LMDB takes the writers' lock, which a jump would keep.
  if (const int rc = guarded([&] { return mdb_env_info(env_, &info); }); rc != 0) return rc;
  if (const int rc = mdb_txn_begin(env_, nullptr, 0, &txn); rc != 0) return rc;
  int rc = guarded([&] { return fill(txn); });
  if (rc == 0 && fault_) rc = fault_();
  if (rc == 0) {
    rc = guarded([&] { return mdb_txn_commit(txn); });
    if (rc != kDamaged) return rc;
  }
  // Also after an assertion: it gives back the writers' lock, without which nobody may close the environment.
  guarded([&] { return mdb_txn_abort(txn), 0; });
  return rc;
}

Status LmdbEnv::write(const std::function<int(MDB_txn*)>& fill) {
  for (bool reopened = false, renewed = false;;) {
    if (Status s = start_over(); !s.ok()) return s;
    const int rc = write_once(fill);
    if (rc == 0) return {};
    if (is_damage(rc)) {
      report_damage(error(rc, "commit").message);
      if (renewed) return error(rc, "commit");
      renewed = true;
      continue;
    }
    if (rc == MDB_MAP_FULL) {
      if (Status s = grow(); !s.ok()) return s;
      continue;
    }
    const bool dead = rc == MDB_PANIC || panicked();
    const Error failed = error(rc, "commit");
    if (dead) {
      if (Status s = reopen(); !s.ok()) return s;
    }
    if (rc != MDB_PANIC || reopened) return failed;
    reopened = true;
  }
}

Status LmdbEnv::grow() {
  if (Status s = close_gate(); !s.ok()) return s;
  const size_t bytes = map_bytes() * 2;
  const int rc = mdb_env_set_mapsize(env_, bytes);
  Status s;
  if (rc == 0) {
    map_bytes_.store(bytes);
  } else {
    // LMDB has let go of the old map before it failed to get the new one (an address space limit).
    s = error(rc, "grow the map");
    close_env();
    if (!open_env().ok()) close_env();
  }
  open_gate();
  return s;
}

// A failed write of the header leaves every later transaction with MDB_PANIC.
bool LmdbEnv::panicked() {
  MDB_txn* txn = nullptr;
  const int rc = env_ == nullptr ? MDB_PANIC : mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  if (rc == 0) mdb_txn_abort(txn);
  return rc == MDB_PANIC;
}

Status LmdbEnv::reopen() {
  if (Status s = close_gate(); !s.ok()) return s;
  close_env();
  bool shortened = false;
  Status s = check_store_file(path_, &shortened);
  if (s.ok()) s = open_env();
  if (!s.ok()) close_env();
  open_gate();
  return s;
}

Error LmdbEnv::error(int rc, const char* what) const {
  const std::string text = std::string(what) + " " + path_ + ": " +
                           (rc == kDamaged ? "a page that cannot be believed or read" : mdb_strerror(rc));
  switch (rc) {
    case ENOSPC:
    case EDQUOT:
      return {Code::kNoSpace, text};
    case EIO:  // LMDB's name for a short write too
      if (disk_is_full(path_)) return {Code::kNoSpace, text + " (disk full)"};
      return {Code::kIo, text};
    case kDamaged:
    case MDB_BAD_TXN:
    case MDB_MAP_RESIZED:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
      return {Code::kCorrupt, text};
    case MDB_VERSION_MISMATCH:
      return {Code::kNewerFormat, text};
    case EACCES:
    case EPERM:
      return {Code::kAccessDenied, text};
    case EROFS:
      return {Code::kReadOnly, text};
    case ENOMEM:
      return {Code::kNoMemory, text};
    default:
      return {Code::kIo, text};
  }
}

}  // namespace s3cache::meta
