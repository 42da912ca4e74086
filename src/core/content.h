// Content: the bytes of one version of one object, wherever they are: cache file, RAM, on their way, still on
// S3.
//
// Every reader, readahead, probe and whole-file open of this version meets here, so each page is on its way
// at most once (single-flight per page run). A read is answered from the cache file when its pages are valid;
// else it waits for exactly the missing runs, and is answered from the arriving buffers, before they reach
// the disk. A Content never changes its version: an answer with another ETag or size, or a 412, makes it
// stale for good, and what was not fetched by then is lost to its readers (kStale), never mixed with the new
// version.
//
// Threads: any. mu_ is never held across I/O, a request or a callback. Lock order: mu_ -> CacheFile.
// Owns: its segments and waiters. Shares: the CacheFile. Borrows: the ContentHost, which outlives it.
// Errors: kStale (replaced on S3), kUnavailable, kTimeout, kIo, kNoMemory. Units: bytes.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/sync.h"
#include "cache/cache_file.h"
#include "core/filesystem.h"
#include "core/readahead.h"
#include "core/segment.h"
#include "core/types.h"
#include "s3/s3_client.h"

namespace s3cache::core {

class Content;

// What a Content asks of the house around it. Implemented by ContentTable; each call may come from any thread
// and without a lock of the Content.
class ContentHost {
 public:
  virtual ~ContentHost() = default;
  // Where its version lies now.
  virtual ObjectSource source_of(const Content& content) = 0;
  // Starts the segment's GET, or queues it until memory is free (foreground). False: refused (background).
  virtual bool start(const std::shared_ptr<Content>& content, const std::shared_ptr<Segment>& segment) = 0;
  virtual void cancel(s3::RequestId request) = 0;
  virtual void promote(s3::RequestId request) = 0;
  // Room in the cache for `bytes` more of this content: evicts if the policy says so. False: bypass the
  // cache.
  virtual bool reserve(Content& content, int64_t bytes) = 0;
  virtual void unreserve(int64_t bytes) = 0;                 // reserved, not written
  virtual void stored(Content& content, int64_t bytes) = 0;  // reserved -> on disk, newly valid
  virtual void post_disk(std::function<void()> job) = 0;
  // Bytes became valid; `full` once, when the last page came in: the host writes the records.
  virtual void progressed(Content& content, bool full) = 0;
  // The transfer of a segment that start() took on is over.
  virtual void ended() = 0;
  // A stored unit would stay in memory until its reader has passed. False: memory is wanted elsewhere. The
  // host may ask for it back by drop_kept(); unkept() tells that units went. Both may be called under a lock.
  virtual bool keep(const std::shared_ptr<Content>& content, int64_t offset) = 0;
  virtual void unkept(size_t units) = 0;
  // A segment stays in RAM: the host may ask for it back by drop_ram().
  virtual void kept_in_ram(const std::shared_ptr<Content>& content, int64_t offset) = 0;
  // The sealed file does not hold what it should: its record goes, and the next open starts with a new file.
  virtual void damaged(Content& content) = 0;
  // S3 has another version now.
  virtual void went_stale(Content& content) = 0;
  // The last handle was closed / the object is going away.
  virtual void closing(Content& content) = 0;
  // The daemon is about to read a cache file that was opened sealed.
  virtual void load_checksums(Content& content) = 0;
};

struct ContentId {
  uint64_t ino = 0;
  uint64_t version = 0;
  std::string key;
  std::string etag;
  int64_t size = 0;
  int64_t last_modified = 0;  // s; 0: not known
};

class Content : public std::enable_shared_from_this<Content> {
 public:
  // `file` may be empty: nothing is cached and nothing will be. `full`: the file is sealed.
  Content(ContentHost& host, ContentId id, Attr attr, std::unique_ptr<cache::CacheFile> file, bool full,
          const ReadaheadOptions& readahead);
  ~Content();

  const ContentId& id() const { return id_; }
  const Attr& attr() const { return attr_; }
  cache::CacheFile* file() const { return file_.get(); }
  uint64_t fid() const { return file_ ? file_->fid() : 0; }
  // Complete on disk and immutable.
  bool sealed() const { return sealed_.load(std::memory_order_acquire); }
  int64_t cached_bytes() const;

  void read(int64_t offset, size_t length, Callback<ReadReply> done);
  // Calls done when every byte is in the cache file, or in RAM where the cache does not take it. With
  // `on_headers` the first GET's headers are handed out as they arrive (or the error that kept them from
  // arriving).
  void fetch_all(s3::HeadCallback on_headers, std::function<void(Status)> done);

  void add_handle();
  int handles() const {
    MutexLock lock(mu_);
    return handles_;
  }
  void drop_handle();  // the last one cancels readahead that has not begun to arrive

  // For the host.
  void begin(const std::shared_ptr<Segment>& segment, std::vector<BufferPool::Unit> units);
  void set_request(const std::shared_ptr<Segment>& segment, s3::RequestId request);
  std::shared_ptr<s3::GetSink> make_sink(std::shared_ptr<Segment> segment);
  // Drops the RAM segment at `offset`, unless somebody waits for it.
  enum class Drop : uint8_t { kDropped, kWanted, kGone };
  Drop drop_ram(int64_t offset);
  // Drops the kept unit at `offset`. False: it is gone already.
  bool drop_kept(int64_t offset);
  // True for the one caller that may seal this content.
  bool claim_seal() { return !seal_claimed_.exchange(true); }
  // True once `bytes` more than at the last time are valid.
  bool claim_unrecorded(int64_t bytes) {
    const int64_t valid = cached_bytes(), last = recorded_bytes_.load();
    return valid - last >= bytes && recorded_bytes_.exchange(valid) == last;
  }
  // True while no record of the latest progress is queued; end_move() comes before the record is written.
  bool claim_move() { return !moving_.exchange(true); }
  void end_move() { moving_.store(false); }
  // Found stale: a later open of the same version starts afresh, so this one records no more progress.
  void detach() { detached_.store(true); }
  bool detached() const { return detached_.load(); }
  // This mount changes the file: its bytes are a Draft's from here on, and later another Content's of the
  // same version. Handles look for that one. `keep_file`: the cache file is the draft's now.
  void supersede(bool keep_file) {
    file_kept_.store(keep_file);
    superseded_.store(true, std::memory_order_release);
  }
  // The content that has its file now. It stays, and so does the file, as long as this one is held: a kernel
  // that reads the file by itself is to see what is written to it.
  void set_successor(std::shared_ptr<Content> next) {
    MutexLock lock(mu_);
    successor_ = std::move(next);
  }
  bool superseded() const { return superseded_.load(std::memory_order_acquire); }
  bool file_kept() const { return file_kept_.load(); }
  // Its cache file has a record; without one it goes with the last handle.
  void mark_recorded() { recorded_.store(true); }
  bool recorded() const { return recorded_.load(); }
  void mark_sealed() {
    file_->set_registered();
    sealed_.store(true, std::memory_order_release);
  }

 private:
  friend class SegmentSink;
  struct Waiter {
    int64_t offset;
    int64_t length;
    Callback<ReadReply> done;
    int attempts = 0;
    int64_t end() const { return offset + length; }
  };
  struct Piece {
    int64_t offset;
    int64_t length;
    BufferPool::Unit unit;  // empty: read it from the cache file
    const std::byte* data = nullptr;
  };
  struct Whole {
    std::function<void(Status)> done;
    int attempts = 0;
  };
  using Segments = std::vector<std::shared_ptr<Segment>>;
  enum class Found : uint8_t {
    kAll,
    kComing,
    kLost,  // part of it is neither here nor on its way: not planned yet, or the cache file lost it
  };

  bool cached(int64_t offset, int64_t length) const;
  bool read_file(int64_t offset, std::span<std::byte> out);
  bool read_cached(int64_t offset, size_t length, const Callback<ReadReply>& done);
  bool read_kept(int64_t offset, size_t length, const Callback<ReadReply>& done);
  void passed(int64_t offset, int64_t end, std::vector<BufferPool::Unit>& out) REQUIRES(mu_);
  void take_kept(Segment& segment, size_t unit, std::vector<BufferPool::Unit>& out) REQUIRES(mu_);
  void drop_all_kept();
  bool wanted_soon(const Segment& segment, int64_t unit_end) const REQUIRES(mu_) {
    return segment.streamed && handles_ > 0 && segment.read_to < unit_end;
  }
  void read_missing(Waiter waiter, bool advise);
  void plan(cache::Run range, int64_t part, bool background, Segments& out) REQUIRES(mu_);
  void add_segments(cache::Run run, int64_t part, bool background, Segments& out) REQUIRES(mu_);
  void promote_overlapping(int64_t offset, int64_t end, std::vector<s3::RequestId>& out) REQUIRES(mu_);
  std::shared_ptr<Segment> segment_at(int64_t offset) REQUIRES(mu_);
  Found collect(int64_t offset, int64_t length, std::vector<Piece>* pieces) REQUIRES(mu_);
  Segments take_hollow(int64_t offset, int64_t end) REQUIRES(mu_);
  void reply(const Waiter& waiter, const std::vector<Piece>& pieces);
  void start(const Segments& segments);
  void refused(const std::shared_ptr<Segment>& segment);
  std::vector<Waiter> take_ready() REQUIRES(mu_);
  void answer(std::vector<Waiter> ready);
  void fetch_whole(Whole whole, const s3::HeadCallback& on_headers);
  bool coming() REQUIRES(mu_);
  bool settled() REQUIRES(mu_);
  void check_whole();

  // Transfer events (network thread) and the disk's answer (disk pool).
  bool headers(const std::shared_ptr<Segment>& segment, const s3::ObjectInfo& info);
  static std::span<std::byte> space(const Segment& segment, int64_t offset);
  void arrived(const std::shared_ptr<Segment>& segment, std::span<const std::byte> data);
  void ended(const std::shared_ptr<Segment>& segment, const Status& status);
  void store_unit(const std::shared_ptr<Segment>& segment, size_t unit);
  void erase(const std::shared_ptr<Segment>& segment) REQUIRES(mu_);
  void finish_segment(const std::shared_ptr<Segment>& segment) REQUIRES(mu_);
  void fail(const std::shared_ptr<Segment>& segment, const Error& transfer);

  ContentHost& host_;
  const ContentId id_;
  const Attr attr_;
  const std::unique_ptr<cache::CacheFile> file_;
  std::atomic<bool> sealed_;
  std::atomic<bool> seal_claimed_{false}, moving_{false}, detached_{false}, recorded_{false};
  std::atomic<bool> superseded_{false}, file_kept_{false};
  std::atomic<bool> given_up_{false};  // the cache file is damaged or gone, and must not be repaired in place
  std::atomic<bool> checksums_loaded_;
  std::atomic<int64_t> recorded_bytes_{0};
  mutable Mutex mu_;
  std::shared_ptr<Content> successor_ GUARDED_BY(mu_);
  Readahead readahead_ GUARDED_BY(mu_);
  std::map<int64_t, std::shared_ptr<Segment>> segments_ GUARDED_BY(mu_);
  std::atomic<size_t> kept_units_{0};  // changes under mu_
  std::vector<Waiter> waiters_ GUARDED_BY(mu_);
  std::vector<Whole> whole_ GUARDED_BY(mu_);
  std::vector<s3::HeadCallback> on_headers_ GUARDED_BY(mu_);
  std::optional<s3::ObjectInfo> info_ GUARDED_BY(mu_);  // of the first GET that answered
  int handles_ GUARDED_BY(mu_) = 0;
  bool stale_ GUARDED_BY(mu_) = false;
  bool disk_failed_ GUARDED_BY(mu_) = false;
};

}  // namespace s3cache::core
