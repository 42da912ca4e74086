// DraftTable: every file with local changes: their bytes, their uploads, their records.
//
// A writer's open makes an idle draft; the first change begins it (a work file, the inode marked kLocal and
// its name pinned, for a cached file durably before its first byte changes); flush, fsync and close save it;
// once S3 has it all the bytes go to the ContentTable as the cache of the new version. The journal of drafts:
// kState "draft/<ino>" while an inode is changed, kDirty extents and a kFile of state modified once it was
// made durable.
//
// Threads: any. Lock order: mu_ -> Draft's; a begin holds Draft::begin_mu over a durable commit. No lock is
// held across a request or a callback. Owns: drafts. Borrows: the parts, which outlive it; the client is shut
// down first. Errors: those of Draft, Uploader and the store. Units: bytes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/content_table.h"
#include "core/draft.h"
#include "core/mutations.h"
#include "core/open_readers.h"
#include "core/uploader.h"
#include "core/waiting_writes.h"

namespace s3cache::core {

struct DraftMark;

class DraftTable : public DraftHost, public DraftRoom {
 public:
  struct Parts {
    Inodes& inodes;
    ContentTable& contents;
    cache::CacheDir& dir;
    CacheSpace& space;
    WorkerPool& workers;
    InodeQueue& queue;
    s3::S3Client& s3;
    Clock& clock;
    ChangeListener* listener;
  };
  // mem_limit: bytes of writes that wait, at most.
  DraftTable(const Parts& parts, const UploadOptions& options, int64_t mem_limit);
  ~DraftTable() override;
  // Made after the table. REQUIRES: before the first open().
  void set_mutations(Mutations* mutations) { mutations_ = mutations; }

  // A writable handle more, or less. `fresh`: nothing of it is on S3.
  std::shared_ptr<Draft> open(uint64_t ino, uint64_t version, bool fresh, bool exclusive);
  // The same for a file that create() just made.
  std::shared_ptr<Draft> open_created(uint64_t ino, uint64_t version, bool exclusive);
  void close(const std::shared_ptr<Draft>& draft);
  // A handle that only reads: it may be all that keeps an unlinked file alive.
  void reader_opened(uint64_t ino);
  void reader_closed(uint64_t ino);

  // The draft whose bytes are to be read instead of the Content's; null: none has begun for this version.
  std::shared_ptr<Draft> active(uint64_t ino, uint64_t version);
  // Open for writing, or changed: no kernel may read the cache file by itself from now on.
  bool writing(uint64_t ino);

  // No offset: at the end. `file` is the handle. Where there is no room the bytes are copied and `done` comes
  // when uploads have made some; kNoSpace only if none of them can.
  void write(std::shared_ptr<void> file, const std::shared_ptr<Draft>& draft, std::optional<int64_t> offset,
             std::span<const std::byte> data, Callback<size_t> done);
  Status truncate(const std::shared_ptr<Draft>& draft, int64_t size);
  Status allocate(const std::shared_ptr<Draft>& draft, int mode, int64_t offset, int64_t length);
  // A new or emptied file gets the `size` bytes of another object, copied on the server. kUnsupported: not
  // this one, its bytes have to be read and written.
  void copy_from(const std::shared_ptr<Draft>& draft, ObjectSource source, int64_t size, Callback<void> done);
  // Waits for S3, or with writeback for the local disk. `closing`: a new file nobody wrote waits for its last
  // close.
  void flush(const std::shared_ptr<Draft>& draft, bool closing, Callback<void> done);
  // The same for a handle that only reads: what others wrote to the file.
  void fsync(uint64_t ino, Callback<void> done);
  // Everything dirty, everywhere.
  void save_all(Callback<void> done);
  // Uploads that wait for their next try are tried now.
  void retry_now() EXCLUDES(mu_);
  // Adds what is not on S3 yet.
  void report(Stats& stats) EXCLUDES(mu_);

  // DraftHost.
  bool has_draft(uint64_t ino) override;
  bool attributes_changed(uint64_t ino, Callback<void> done) override;
  void save(uint64_t ino, Callback<void> done) override;
  void renamed(uint64_t ino, bool exclusive) override;
  void unlinked(uint64_t ino) override;
  void object_copied(uint64_t ino, const std::string& from_etag, const std::string& to_etag) override;
  bool in_use(uint64_t ino) override EXCLUDES(mu_);
  bool needs_object(uint64_t ino, std::function<void()> gone) override;
  bool may_be_on_s3(uint64_t ino) override;

  // Before the client is shut down: writes that wait are over, with kCancelled.
  void stop_waiting();

  // At mount, before the first open: what an earlier process left.
  void recover();

 private:
  bool take(uint64_t fid, int64_t bytes, bool for_upload) override;
  void freed(uint64_t fid, int64_t bytes) override;
  Result<std::shared_ptr<UniqueFd>> scratch_file(int64_t bytes) override;

  Result<size_t> write(const std::shared_ptr<Draft>& draft, int64_t offset, std::span<const std::byte> data);
  Result<size_t> append(const std::shared_ptr<Draft>& draft, std::span<const std::byte> data);
  Result<size_t> write_now(const std::shared_ptr<Draft>& draft, std::optional<int64_t> offset,
                           std::span<const std::byte> data);
  void relieve();
  void serve_waiting();
  bool make_room() EXCLUDES(mu_);

  std::shared_ptr<Draft> find(uint64_t ino);
  Status begin(const std::shared_ptr<Draft>& draft, bool truncating);
  Result<Draft::Start> start_of(const meta::Inode& inode, uint64_t ino, bool truncating);
  Status mark_local(const Draft& draft, Draft::Start& start, const meta::Inode& inode);
  template <class Change>
  Result<int64_t> change(const std::shared_ptr<Draft>& draft, bool truncating, const Change& change);
  void changed(const std::shared_ptr<Draft>& draft, int64_t size);
  void object_unneeded(uint64_t ino);
  void readers_gone(uint64_t ino);
  void stream(const std::shared_ptr<Draft>& draft, int64_t written_to);
  Result<Uploader::Target> target_of(const Draft& draft);

  void upload(const std::shared_ptr<Draft>& draft, Callback<void> done);
  void upload_turn(const std::shared_ptr<Draft>& draft, const InodeQueue::Turn& turn);
  void keep_for_handles(uint64_t ino) EXCLUDES(mu_);
  void handle_closed(uint64_t ino) EXCLUDES(mu_);
  void copy_attributes(const std::shared_ptr<Draft>& draft);
  void begin_upload(const std::shared_ptr<Draft>& draft, const InodeQueue::Turn& turn);
  void send(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot,
            const Uploader::Target& target, const InodeQueue::Turn& turn);
  // The server has another version than expected: an upload of ours whose answer was lost, or somebody
  // else's?
  void look_again(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot,
                  const Uploader::Target& target, const Error& why, const InodeQueue::Turn& turn);
  void uploaded(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot,
                const Result<s3::Written>& written, const InodeQueue::Turn& turn);
  struct ServerCopy;
  void begin_copy(const std::shared_ptr<ServerCopy>& copy);
  void copied(const std::shared_ptr<ServerCopy>& copy, const Result<s3::Written>& written);
  void record_copied(ServerCopy& copy, const s3::Written& written);
  void note_outcome(const std::shared_ptr<Draft>& draft, const Status& outcome) EXCLUDES(mu_);
  bool answer_waiters(const std::shared_ptr<Draft>& draft, uint64_t generation, const Status& outcome);
  void record_saved(Draft& draft, const Draft::Snapshot& snapshot, const s3::Written& written);
  void finish(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot);
  Status record_cut(Draft& draft, int64_t size);
  void drop_file(uint64_t fid);
  void conflict(const std::shared_ptr<Draft>& draft, const Error& why);
  void drop_if_idle(const std::shared_ptr<Draft>& draft);
  void discard(const std::shared_ptr<Draft>& draft);
  Status persist(Draft& draft);
  std::vector<Result<s3::ObjectInfo>> look_for_sent(const std::vector<DraftMark>& marks);
  void revive(const DraftMark& mark);
  void take_back(const DraftMark& mark);
  void retry_loop();

  Inodes& inodes_;
  meta::MetaStore& store_;
  ContentTable& contents_;
  cache::CacheDir& dir_;
  CacheSpace& space_;
  WorkerPool& workers_;
  InodeQueue& queue_;
  s3::S3Client& s3_;
  Clock& clock_;
  ChangeListener* const listener_;
  const UploadOptions options_;
  Uploader uploader_;
  ObjectCopier copier_;
  WaitingWrites waiting_;
  std::atomic<size_t> settling_{0};     // uploads that have ended and whose files become cached ones
  std::atomic<int64_t> room_at_ms_{0};  // when a write found room, or an upload got on
  std::atomic<uint64_t> sent_seen_{0};  // bytes
  Mutations* mutations_ = nullptr;
  std::atomic<size_t> count_{0};  // of drafts_: spares the read path the lock
  OpenReaders readers_;
  Mutex mu_;
  CondVar wake_;
  std::unordered_map<uint64_t, std::shared_ptr<Draft>> drafts_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, std::vector<std::function<void()>>> unneeded_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, std::shared_ptr<Content>> orphans_ GUARDED_BY(mu_);  // unlinked, and open
  std::atomic<size_t> orphan_count_ = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread retrier_;
};

}  // namespace s3cache::core
