// Opening and closing of LmdbEnv: flags, tables, format version.
#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/log.h"
#include "meta/lmdb_env.h"
#include "meta/page_check.h"

namespace s3cache::meta {
namespace {

constexpr const char* kTableNames[kTableCount] = {"state", "dirent", "inode", "ext",     "dir",  "file",
                                                  "map",   "crc",    "dirty", "journal", "trash"};
constexpr std::string_view kFormatKey = "format";
constexpr int kFormat = 1;

constexpr size_t kMapUnit = 1 << 16;
size_t round_up(size_t n) { return (n + kMapUnit - 1) / kMapUnit * kMapUnit; }

// LMDB is about to abort(). Outside of guarded() that is the end; the mark makes the next start rebuild.
void on_assert(MDB_env* env, const char* message) {
  if (guard_exit != nullptr) std::longjmp(*guard_exit, 1);
  const auto* path = static_cast<const std::string*>(mdb_env_get_userctx(env));
  log::critical("metadata store {} is damaged: {}", *path, message);
  mark_store_damaged(*path);
  std::abort();
}

MDB_val val(std::string_view s) { return {s.size(), const_cast<char*>(s.data())}; }

}  // namespace

std::string_view table_name(Table table) { return kTableNames[static_cast<size_t>(table)]; }

LmdbEnv::LmdbEnv(const Options& options, Fault fault, OpenOnce claim)
    : path_(options.path),
      initial_map_bytes_(options.initial_map_bytes),
      read_only_fallback_(options.read_only_fallback),
      check_records_(options.check_records),
      fault_(std::move(fault)),
      claim_(std::move(claim)) {}

LmdbEnv::~LmdbEnv() {
  const bool clean = env_ != nullptr && !read_only_ && !was_damaged();
  close_env();
  if (clean) note_clean_close(path_);
}

Status LmdbEnv::check_before_use(const Options& options) {
  const bool clean = closed_cleanly(options.path);
  bool shortened = false;
  if (Status s = check_store_file(options.path, &shortened); !s.ok()) return s;
  if (clean || file_size(options.path) == 0) return {};
  const auto start = std::chrono::steady_clock::now();
  const auto checked = check_pages(options.path, {.values = options.check_records});
  if (!checked.ok()) return checked.error();
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
  log::info("metadata store {} was not closed cleanly: {} pages checked in {} ms{}", options.path,
            checked->pages, ms, checked->complete ? "" : ", the rest left for later");
  return {};
}

Result<std::unique_ptr<LmdbEnv>> LmdbEnv::open(const Options& options, Fault fault) {
  Result<OpenOnce> claim = OpenOnce::claim(options.path);
  if (!claim.ok()) return claim.error();
  std::unique_ptr<LmdbEnv> env(new LmdbEnv(options, std::move(fault), std::move(*claim)));
  if (Status s = check_before_use(options); !s.ok()) return s.error();
  forget_clean_close(options.path);
  install_guard();
  Status s = env->open_env();
  if (!s.ok() && options.read_only_fallback && (s.is(Code::kAccessDenied) || s.is(Code::kReadOnly))) {
    env->close_env();
    env->read_only_ = true;
    s = env->open_env();
  }
  if (!s.ok()) return s.error();
  return env;
}

Status LmdbEnv::open_env() {
  if (const int rc = mdb_env_create(&env_); rc != 0) {
    env_ = nullptr;
    return error(rc, "open");
  }
  mdb_env_set_userctx(env_, const_cast<std::string*>(&path_));
  mdb_env_set_assert(env_, on_assert);
  // Room for the tables of a later format, whose version must be read to be refused.
  mdb_env_set_maxdbs(env_, kTableCount + 16);
  mdb_env_set_maxreaders(env_, 1024);
  const size_t bytes =
      round_up(std::max({initial_map_bytes_, map_bytes(), static_cast<size_t>(2 * file_size(path_))}));
  if (const int rc = mdb_env_set_mapsize(env_, bytes); rc != 0) return error(rc, "map");
  map_bytes_.store(bytes);
  // Without MDB_NORDAHEAD: a fault that reads 128 KiB around it made the first `ls -lR` of a million names a
  // third faster and a quarter of the CPU; where faults miss too often the kernel stops reading around by
  // itself.
  const unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (read_only_ ? MDB_RDONLY : 0U);
  if (const int rc = mdb_env_open(env_, path_.c_str(), flags, 0600); rc != 0) return error(rc, "open");
  int dead = 0;
  mdb_reader_check(env_, &dead);  // slots of a process that was killed would pin old pages
  return open_tables();
}

Status LmdbEnv::open_tables() {
  for (;;) {
    MDB_txn* txn = nullptr;
    if (const int rc = mdb_txn_begin(env_, nullptr, read_only_ ? MDB_RDONLY : 0U, &txn); rc != 0) {
      return error(rc, "open");
    }
    // The format is read before anything is made: a newer store must stay as it is.
    MDB_dbi state = 0;
    int rc = guarded([&] { return mdb_dbi_open(txn, kTableNames[0], 0, &state); });
    const bool fresh = rc == MDB_NOTFOUND;
    if (rc == 0 || fresh) {
      if (Status s = check_format(txn, state, fresh); !s.ok()) {
        mdb_txn_abort(txn);
        return s;
      }
      rc = 0;
    }
    for (size_t t = 0; t < kTableCount && rc == 0; ++t) {
      const unsigned flags = read_only_ ? 0U : MDB_CREATE;
      rc = guarded([&] { return mdb_dbi_open(txn, kTableNames[t], flags, &dbis_[t]); });
    }
    if (rc == 0 && fresh) {
      MDB_val k = val(kFormatKey);
      const std::string text = std::to_string(kFormat);
      MDB_val v = val(text);
      rc = guarded([&] { return mdb_put(txn, dbis_[0], &k, &v, 0); });
    }
    if (rc == 0) {
      rc = guarded([&] { return mdb_txn_commit(txn); });
    } else {
      mdb_txn_abort(txn);
    }
    if (rc == 0) return {};
    if (rc != MDB_MAP_FULL) return error(rc, "open");
    map_bytes_.store(map_bytes() * 2);
    if (const int grown = mdb_env_set_mapsize(env_, map_bytes()); grown != 0) return error(grown, "map");
  }
}

Status LmdbEnv::check_format(MDB_txn* txn, MDB_dbi state, bool fresh) const {
  const Error damaged{Code::kCorrupt, "metadata store " + path_ + ": no format version"};
  if (fresh) {
    // Tables without a "state": not ours, or half a file.
    MDB_dbi main = 0;
    MDB_stat st{};
    if (mdb_dbi_open(txn, nullptr, 0, &main) != 0 || mdb_stat(txn, main, &st) != 0) return damaged;
    return st.ms_entries == 0 ? Status() : Status(damaged);
  }
  MDB_val k = val(kFormatKey), v{};
  const int rc = guarded([&] { return mdb_get(txn, state, &k, &v); });
  if (rc == MDB_NOTFOUND) return damaged;
  if (rc != 0) return error(rc, "open");
  const std::string_view text(static_cast<const char*>(v.mv_data), v.mv_size);
  int version = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (ec == std::errc::result_out_of_range)
    version = kFormat + 1;
  else if (ec != std::errc() || end != text.data() + text.size() || version < 1)
    return damaged;
  if (version == kFormat) return {};
  return Error{Code::kNewerFormat, "metadata store " + path_ + " has format " + std::string(text) +
                                       ", this s3cache knows format " + std::to_string(kFormat) +
                                       ": use the later s3cache, or give this mount another cache directory"};
}

void LmdbEnv::close_env() {
  for (Slot& s : slots_) {
    if (s.txn != nullptr) mdb_txn_abort(std::exchange(s.txn, nullptr));
  }
  if (env_ != nullptr) mdb_env_close(std::exchange(env_, nullptr));
}

}  // namespace s3cache::meta
