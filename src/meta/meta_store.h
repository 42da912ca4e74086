// MetaStore: the durable tables of one cache directory, in one LMDB environment.
//
// One writer thread commits groups: apply() puts a batch into the overlay, where every later read sees it at
// once, and returns; the writer takes what has gathered and commits it in one fully synced transaction (0.3
// ms each). Callers that wait for durability make the writer start at once; others may be held back 50 ms
// to group. A batch is atomic: on disk all of it or nothing, and batches become durable in the order of
// apply().
//
// Threads: every method from any thread. Reads take the overlay pointer and the LMDB read transaction under
// one shared lock, so a read never misses a batch between the two. No reader outlives its call (a reader held
// open over 200 commits grew the file from 28 to 463 MB). Owns: the environment, the writer thread, the map
// size (grows by itself: 0.9.24 needs no live transaction then).
//
// Damage found while running costs what was known, never an answer: the store leaves a mark (the next open()
// answers kCorrupt, which rebuilds), says so in one line, and starts over with an empty file. Records that
// were on the disk are then absent, so the server is asked again, and so is a kDir whose listing began before
// the start over, wherever it lies. What cannot be asked again, kJournal and kDirty, is kCorrupt from then
// on, and so is the one scan of kDirent that met the damage (half a directory is not an answer). Errors:
// kNoSpace (disk full; the store stays usable), kCorrupt, kNewerFormat, kBusy, kIo.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace s3cache::meta {

// Stable on disk: never renumber. Key and value layouts are in meta/records.h.
enum class Table : uint8_t {
  kState = 0,    // name -> value: format version, id counters, clean flag, boot id
  kDirent = 1,   // be64(parent) name ['/'] -> Dirent
  kInode = 2,    // be64(ino) -> Inode
  kExt = 3,      // be64(ino) -> Ext: symlink target, xattrs, kept headers
  kDir = 4,      // be64(ino) -> Dir: listed_at, complete
  kFile = 5,     // be64(fid) -> File
  kMap = 6,      // be64(fid) be32(chunk) -> page bitmap of 32 MiB
  kCrc = 7,      // be64(fid) be32(chunk) -> CRC32C of 64 KiB blocks of 16 MiB
  kDirty = 8,    // be64(ino) be64(offset) -> Extent
  kJournal = 9,  // be64(seq) -> Intent
  kTrash = 10,   // be64(fid) -> ""
};
inline constexpr int kTableCount = 11;
std::string_view table_name(Table table);  // as LMDB knows it

class Batch {
 public:
  void put(Table table, std::string key, std::string value);
  void erase(Table table, std::string key);
  bool empty() const { return ops_.empty(); }
  size_t size() const { return ops_.size(); }

  struct Op {
    Table table;
    std::string key;
    std::optional<std::string> value;  // nullopt: erase
  };
  const std::vector<Op>& ops() const { return ops_; }
  std::vector<Op>& ops() { return ops_; }

 private:
  std::vector<Op> ops_;
};

struct Options {
  std::string path;                    // the LMDB file; its folder exists
  size_t initial_map_bytes = 1 << 30;  // address space only
  // A file or file system that may not be written is opened for reading: apply() then refuses with kReadOnly.
  bool read_only_fallback = false;
  // Records that meta/records.h cannot decode are damage. Off: a store of anything, for its own tests.
  bool check_records = true;
};

struct StoreStats {
  uint64_t commits = 0, ops_committed = 0, entries[kTableCount] = {};
  uint64_t file_bytes = 0, map_bytes = 0, overlay_ops = 0;  // file_bytes: as allocated on the disk
  uint64_t failed_commits = 0;
};

// Deletes the store's files (for a rebuild, or with the cache directory). REQUIRES: not open.
Status remove_store_files(const std::string& path);

class MetaStore {
 public:
  // Opens or makes the store. A damaged one is kCorrupt, one of a later format kNewerFormat: the caller
  // decides whether to rebuild (rename aside and open anew, or remove_store_files). A store that we did not
  // close in this state is read through first (meta/page_check.h, at most 0.4 s).
  static Result<std::unique_ptr<MetaStore>> open(const Options& options);
  virtual ~MetaStore() = default;  // commits what is pending

  using Durable = std::function<void(Status)>;
  // Visible at once. `durable`, if given, runs on the writer thread after the commit (or with the error that
  // stopped it; then the batch is dropped from the overlay and no longer visible).
  // Blocks only while the overlay is full (64 MiB of pending operations), and never the writer thread's
  // callbacks, a thread that holds a Snapshot, or a call with `durable` while commits fail (it gets its error
  // instead). When a commit fails (disk full), batches without `durable` stay visible in memory and are tried
  // again every second and with every durable batch; they are lost only if the process ends first. See
  // health(). A batch with a key LMDB cannot hold (empty or over 511 bytes) is refused whole: kInvalid.
  // `durable` may call apply() and reads; apply_durable(), flush() and next_id() answer kInvalid or kBusy
  // there instead of waiting for themselves.
  virtual void apply(Batch batch, Durable durable = nullptr) = 0;
  // apply() and wait for the disk.
  virtual Status apply_durable(Batch batch) = 0;
  // Waits until everything applied before is durable.
  virtual Status flush() = 0;
  // ok, or the error of the last commit: while it lasts, new metadata gathers in memory up to the 64 MiB.
  virtual Status health() const = 0;

  // nullopt: no such record.
  virtual Result<std::optional<std::string>> get(Table table, std::string_view key) = 0;

  // Visits records with key >= from that start with prefix, in key order, overlay merged in, at most `limit`.
  // `visit` runs inside the read transaction: it copies what it needs and returns false to stop; it must not
  // call the store. The views die with the call.
  using Visit = std::function<bool(std::string_view key, std::string_view value)>;
  virtual Status scan(Table table, std::string_view from, std::string_view prefix, size_t limit,
                      const Visit& visit) = 0;

  // Reads of one consistent moment, that of the call: exactly the batches applied before it, also while later
  // ones arrive and commit. Many gets for the price of one transaction. Keep it within one function; never
  // over a wait: it pins pages, and the map cannot grow under it (commits fail with kBusy after 3 s).
  class Snapshot {
   public:
    virtual ~Snapshot() = default;
    virtual Result<std::optional<std::string>> get(Table table, std::string_view key) = 0;
    virtual Status scan(Table table, std::string_view from, std::string_view prefix, size_t limit,
                        const Visit& visit) = 0;
  };
  virtual std::unique_ptr<Snapshot> snapshot() = 0;

  // The next number of the one counter for inodes, file ids and incarnations; never 0 or 1, never given
  // twice, also after a crash: blocks of 1,024 are reserved durably before the first of them is handed out.
  virtual Result<uint64_t> next_id() = 0;

  virtual StoreStats stats() const = 0;
};

}  // namespace s3cache::meta
