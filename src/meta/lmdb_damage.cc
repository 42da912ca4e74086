// What LmdbEnv does about damage found while running.
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <limits>

#include "base/log.h"
#include "meta/lmdb_env.h"
#include "meta/records.h"

namespace s3cache::meta {
namespace {

// Above every record this program writes; a length of garbage would be read from beyond the file.
constexpr size_t kMaxCredible = 256 << 10;

std::string_view view_of(const MDB_val& v) { return {static_cast<const char*>(v.mv_data), v.mv_size}; }

MDB_val val_of(std::string_view s) { return {s.size(), const_cast<char*>(s.data())}; }

}  // namespace

bool LmdbEnv::is_damage(int rc) {
  // MDB_BAD_TXN: the transaction has met it before. MDB_MAP_RESIZED: a header says more pages than the map
  // has, and nobody else writes here.
  return rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_BAD_TXN || rc == MDB_MAP_RESIZED ||
         rc == kDamaged;
}

void LmdbEnv::on_damage(std::function<Batch()> first_records, std::function<void()> on_damage) {
  first_records_ = std::move(first_records);
  on_damage_ = std::move(on_damage);
}

bool LmdbEnv::credible(Table table, const MDB_val& key, const MDB_val& value) const {
  if (!check_records_) return true;
  if (value.mv_size > kMaxCredible) return false;
  const std::string_view k = view_of(key), v = view_of(value);
  return guarded([&] { return touch(k), touch(v), 0; }) == 0 && record_ok(table, k, v);
}

void LmdbEnv::report_damage(const std::string& what) const {
  // Before anybody can take an absent name's word for it.
  dirs_since_ns_.store(std::numeric_limits<int64_t>::max());
  if (damaged_.exchange(true)) return;
  mark_store_damaged(path_);
  log::error(
      "metadata store {} is damaged ({}): it starts over empty and the server is asked again; unmount and "
      "mount "
      "to rebuild the cache, and check the disk",
      path_, what);
  if (on_damage_) on_damage_();
}

Status LmdbEnv::start_over() {
  if (!damaged_.load()) return {};
  if (read_only_) return Error{Code::kReadOnly, "metadata store " + path_ + " is damaged and read-only"};
  const Batch first = first_records_ ? first_records_() : Batch();
  if (Status s = close_gate(); !s.ok()) return s;
  close_env();
  Status s;
  for (const std::string& p : {path_, path_ + "-lock"}) {
    if (::unlink(p.c_str()) != 0 && errno != ENOENT) s = errno_error(errno, "unlink " + p);
  }
  if (s.ok()) s = open_env();
  if (s.ok()) {
    const int rc = write_once([&](MDB_txn* txn) {
      int put = 0;
      for (const Batch::Op& op : first.ops()) {
        MDB_val k = val_of(op.key), v = val_of(*op.value);
        if (put == 0) put = mdb_put(txn, dbi(op.table), &k, &v, 0);
      }
      return put;
    });
    if (rc != 0) s = error(rc, "start over");
  }
  if (s.ok()) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    dirs_since_ns_.store(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
    damaged_.store(false);
  } else {
    close_env();
  }
  open_gate();
  return s;
}

}  // namespace s3cache::meta
