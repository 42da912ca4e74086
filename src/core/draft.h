// Draft: the content of one inode that this mount changes: what is local, what S3 lacks, what is on its way.
//
// The work file has the draft's size and holds every byte that is `local`; what is not, below base_len, is
// the base version's and comes from its Content; past base_len nothing ever does. Where the whole base lies
// in the cache the work file is that very cache file (everything is local, and kernel readers of it see each
// write); else it is a new one. `dirty` is what has to go up; an upload takes it as a snapshot, and what is
// written meanwhile is dirty again.
//
// Life: idle (opened for writing, nothing changed) -> begun (has a work file) -> saved -> idle again, or
// gone. Bytes before bits: a range becomes local and dirty after its pwrite returned, so a snapshot taken in
// between misses nothing for good. Threads: any. io_mu_ is held across pwrite and ftruncate on the work file
// (its page cache), so that base bytes merged in never overwrite a user's; lock order io_mu_ -> mu_. No lock
// is held across a request, an fsync or a callback. Errors: kNoSpace, kIo, kStale (the base version is gone
// and was needed), kTooBig. Units: bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/sync.h"
#include "base/unique_fd.h"
#include "core/content.h"
#include "core/extent_set.h"
#include "core/stats.h"
#include "core/upload_session.h"

namespace s3cache::core {

// Room in the cache for a draft's bytes. Implemented by DraftTable.
class DraftRoom {
 public:
  virtual ~DraftRoom() = default;
  // False: the disk or the budget is full and nothing can go. for_upload: bytes of the base version that an
  // upload needs beside those it has.
  virtual bool take(uint64_t fid, int64_t bytes, bool for_upload) = 0;
  virtual void freed(uint64_t fid, int64_t bytes) = 0;
  // A file without a name, on the cache's disk, with room for `bytes`, which are free again when it is let
  // go.
  virtual Result<std::shared_ptr<UniqueFd>> scratch_file(int64_t bytes) = 0;
};

class Draft : public std::enable_shared_from_this<Draft> {
 public:
  Draft(DraftRoom& room, uint64_t ino, uint64_t version) : room_(room), ino_(ino), version_(version) {}

  uint64_t ino() const { return ino_; }
  uint64_t version() const { return version_; }

  // Where the bytes are when the first change comes.
  struct Start {
    uint64_t fid = 0;
    std::shared_ptr<UniqueFd> file;  // of exactly `size` bytes
    int64_t size = 0;
    std::shared_ptr<Content> base;  // what is not local comes from it; null: nothing does
    std::string base_etag;          // of the object the draft builds on; empty: there is none
    int64_t base_size = 0;          // its whole size
    bool whole = false;             // the work file has every byte
    std::weak_ptr<Content>
        readers;            // `whole`: the content it was, alive while somebody reads the file through it
    ExtentSet dirty;        // out of the journal of an earlier mount
    int64_t base_len = -1;  // -1: size
  };
  void begin(Start start);
  bool begun() const;

  // A change. They return what the file's size is then; kBusy: the draft ended meanwhile, begin() it again.
  Result<int64_t> write(int64_t offset, std::span<const std::byte> data);
  Result<int64_t> append(std::span<const std::byte> data);
  Result<int64_t> truncate(int64_t size);
  Result<int64_t> zero(int64_t offset, int64_t length, bool may_grow);
  // False: idle, and they have to go another way.
  bool attributes_changed();
  // True, once: it is idle, and attributes were set that no upload took along.
  bool take_idle_attributes();

  // REQUIRES: begun. As Content::read; kBusy: the base was replaced by an upload of this draft, ask again.
  void read(int64_t offset, size_t length, Callback<ReadReply> done);
  // Makes every byte of the range local.
  void materialize(Range range, std::function<void(Status)> done);
  // Gives the room of the range's bytes back that are the base version's: they are read from it again.
  // Returns how many went; 0 for a cached file that is changed in place, as kernel readers may have it.
  int64_t drop_clean(Range range);

  // A file that holds what the range of `file`, the work file of a snapshot, holds now: nobody writes to it.
  // Its bytes count for the cache until it is let go. Past its end: zeros.
  Result<std::shared_ptr<UniqueFd>> still_copy(const UniqueFd& file, Range range);

  // What one upload sends.
  struct Snapshot {
    int64_t size = 0;
    int64_t base_len = 0;
    ExtentSet changed;
    std::string base_etag;
    std::shared_ptr<UniqueFd> file;
    uint64_t generation = 0;
    // For the record once it is saved; 0: as it is.
    int64_t mtime_ns = 0, ctime_ns = 0;
    bool mtime_late = false;    // the object's mtime will be that of its first part, and is to be set
    bool only_headers = false;  // the bytes are the base version's
  };
  Snapshot take_snapshot();
  // The upload of the latest snapshot ended. Saved: `etag` is the object's now, `base` serves what is not
  // local.
  void saved(const Snapshot& snapshot, const std::string& etag, std::shared_ptr<Content> base);
  void not_saved();
  // The snapshot of a file without a byte was answered by a copy of another object, `size` bytes of it.
  // False: the file was written meanwhile, and builds on nothing of the copy.
  bool copied(const Snapshot& snapshot, const std::string& etag, int64_t size, std::shared_ptr<Content> base);
  // What the upload on its way will look like on the server: its ctime header and its size tell an object of
  // ours from somebody else's when the answer was lost.
  void set_sent(std::string ctime, int64_t size);
  // An earlier upload of this draft turned out to be there: it is what the draft builds on now.
  void rebase(const std::string& etag, int64_t size, std::shared_ptr<Content> base);
  // Back to idle, if nothing changed since `generation`: `publish` hands the bytes to the content table,
  // under the lock that writers take. False: it changed, and `publish` was not called.
  bool end(uint64_t generation, const std::function<void()>& publish);

  struct State {
    bool begun = false, dirty = false, whole = false, unlinked = false;
    uint64_t fid = 0, generation = 0;
    int64_t size = 0, base_len = 0, base_size = 0;
    std::string base_etag;
    std::string sent_ctime;
    int64_t sent_size = 0;
  };
  State state() const;
  int64_t size() const;
  bool dirty() const;
  std::shared_ptr<Content> readers() const;
  bool read_in_place() const;  // open handles, maybe the kernel itself, read the work file as what it was
  uint64_t generation() const;
  bool sending() const;  // a snapshot is on its way
  ExtentSet local() const;
  ExtentSet unsaved() const;     // dirty or on its way
  int64_t unsent_bytes() const;  // of those, in no part that S3 has
  std::shared_ptr<UniqueFd> file() const;
  // Is the range complete, dirty, and not on its way already? For parts that go up early.
  bool ready_to_send(Range range) const;
  void mark_unlinked();
  bool unlinked() const;

  // Parts that went up before the file was closed. Its own lock.
  UploadSession& session() { return session_; }

  // For DraftTable, under its lock: writable handles; made here and never uploaded; opened with O_EXCL.
  int writers = 0;
  std::atomic<bool> fresh = false;
  std::atomic<bool> exclusive = false;
  std::atomic<bool> durable = false;  // its records are in the journal
  std::atomic<int> failures = 0;      // uploads that failed in a row
  std::atomic<int> overtaken = 0;     // uploads in a row that writers got ahead of
  std::atomic<int64_t> retry_at_ms = 0;
  std::atomic<bool> saving = false;  // an upload has been queued
  struct Waiter {
    uint64_t generation;
    std::function<void(Status)> done;
  };
  std::vector<Waiter> waiters;
  std::optional<Trouble> trouble;  // why the last upload failed; none: it did not
  Mutex begin_mu;                  // one begin() at a time; held across a durable commit

 private:
  Result<int64_t> write_locked(int64_t offset, std::span<const std::byte> data) REQUIRES(io_mu_);
  Result<std::shared_ptr<UniqueFd>> work_file() const;
  Status charge(int64_t offset, int64_t length, bool for_upload) REQUIRES(io_mu_);
  void touched(int64_t offset, int64_t length) REQUIRES(mu_);
  std::vector<Range> missing(int64_t offset, int64_t length) const REQUIRES(mu_);
  bool builds_on(const std::shared_ptr<Content>& base) const;
  // False: none is on its way.
  bool after_upload(std::function<void()> done);
  void compose(int64_t offset, size_t length, std::vector<Range> gaps, std::shared_ptr<Content> base,
               uint64_t drops, Callback<ReadReply> done);
  bool dropped_since(uint64_t drops) const;
  Status merge(int64_t offset, ReadReply bytes);

  DraftRoom& room_;
  const uint64_t ino_;
  const uint64_t version_;
  UploadSession session_;
  Mutex io_mu_ ACQUIRED_BEFORE(mu_);
  ExtentSet charged_ GUARDED_BY(io_mu_);  // whole pages the budget was asked for
  mutable Mutex mu_;
  bool begun_ GUARDED_BY(mu_) = false;
  bool whole_ GUARDED_BY(mu_) = false;
  bool attributes_ GUARDED_BY(mu_) = false;  // changed: headers have to go up
  bool resized_ GUARDED_BY(mu_) = false;     // the length alone has to go up
  bool unlinked_ GUARDED_BY(mu_) = false;
  bool sending_now_ GUARDED_BY(mu_) = false;  // a snapshot is on its way
  std::vector<std::function<void()>> after_upload_ GUARDED_BY(mu_);
  bool dirty_locked() const REQUIRES(mu_);
  uint64_t fid_ GUARDED_BY(mu_) = 0;
  std::shared_ptr<UniqueFd> file_ GUARDED_BY(mu_);
  int64_t size_ GUARDED_BY(mu_) = 0;
  int64_t base_len_ GUARDED_BY(mu_) = 0;
  int64_t base_size_ GUARDED_BY(mu_) = 0;
  int64_t cut_ GUARDED_BY(mu_) = INT64_MAX;  // the shortest the file has been since the snapshot
  std::shared_ptr<Content> base_ GUARDED_BY(mu_);
  std::weak_ptr<Content> readers_ GUARDED_BY(mu_);
  std::string base_etag_ GUARDED_BY(mu_);
  std::string sent_ctime_ GUARDED_BY(mu_);
  int64_t sent_size_ GUARDED_BY(mu_) = 0;
  uint64_t drops_ GUARDED_BY(mu_) = 0;  // moves before bytes of the work file go
  ExtentSet local_ GUARDED_BY(mu_), dirty_ GUARDED_BY(mu_), sending_ GUARDED_BY(mu_);
  uint64_t generation_ GUARDED_BY(mu_) = 0;  // moves with every change
};

}  // namespace s3cache::core
