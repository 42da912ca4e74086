// ContentTable: every Content that is open or moving, found by (inode, version); their records in the store.
//
// acquire() makes the Content of an inode's current version from its records: cache file, valid pages,
// checksums. Bytes before bits: a Content's new pages are recorded after they were written, in the same batch
// as their checksums, and a complete file becomes "sealed" with the inode pointing to it, all in one batch.
// Partial files are recorded at most 100 ms late, so a SIGKILL loses no more than that of what was fetched.
// Power cuts: a file counts as synced only after a syncfs (every 30 s); after a cut, files of before that are
// not synced are given up. Threads: any. Lock order: loading_, record_mu_ -> Inodes' stripe -> store; mu_ is
// a leaf. Errors: kNotFound, kIsDirectory, and those of the store. Units: bytes.
#pragma once

#include <array>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "core/cache_space.h"
#include "core/content.h"
#include "core/extent_set.h"
#include "core/fetcher.h"
#include "core/inodes.h"
#include "core/namespace.h"

namespace s3cache::core {

class ContentTable : public ContentHost, public ObjectProber {
 public:
  struct Parts {  // borrowed; all outlive the table
    Inodes& inodes;
    cache::CacheDir& dir;
    cache::FdCache& fds;
    CacheSpace& space;
    Fetcher& fetcher;
    WorkerPool& workers;
    Clock& clock;
  };
  ContentTable(const Parts& parts, const ReadaheadOptions& readahead, const NamespaceOptions& names,
               uint64_t distrust_below);
  ~ContentTable() override;

  // The namespace is made after the table (it borrows it as its prober). REQUIRES: before the first
  // acquire().
  void set_namespace(Namespace* names) { namespace_ = names; }

  Result<std::shared_ptr<Content>> acquire(uint64_t ino);
  // Counts an open for the eviction policy and keeps the file from being evicted.
  void opened(Content& content);
  // --- for drafts (content_local.cc)

  // A local change begins: the content is found by nobody any more. keep_file: its cache file becomes the
  // draft's; else it goes with the last reader. False: not the current one.
  bool supersede(const std::shared_ptr<Content>& content, bool keep_file);
  // The object as it is on S3 now, without a cache file. For what a draft does not hold itself.
  std::shared_ptr<Content> uncached(uint64_t ino, const std::string& etag, int64_t size);
  // A saved draft's file as the cache of the inode's version: pages, checksums (reads all of it), nothing
  // visible yet. Null: it cannot be.
  std::shared_ptr<Content> prepare_local(uint64_t ino, const meta::Inode& inode, uint64_t fid,
                                         const ExtentSet& local);
  // Visible, and recorded. REQUIRES: the inode's record names the version and the file.
  void publish_local(const std::shared_ptr<Content>& content);
  // Somebody reads it, and not every byte is here.
  bool open_unsealed(uint64_t ino);
  // The name is gone: its cache file goes now, or with the last reader.
  void forget_unlinked(uint64_t ino);
  // Called, without a lock, when a content of `ino` was closed. Null: nobody any more.
  void on_closed(std::function<void(uint64_t ino)> hook);

  // Records everything that moved; called by the tick and before the store closes.
  void persist_all();

  // For the Scrubber. The content of a sealed cache file that is idle: current, not open, not changed here.
  std::shared_ptr<Content> take_for_scrub(uint64_t ino, uint64_t fid);
  // Compares a range with its checksums. False: it was damaged, and is gone.
  bool scrub(Content& content, int64_t offset, int64_t length);
  // Nobody opened or fetched anything for so long.
  bool quiet_for(int64_t ms) const { return clock_.mono_ms() - busy_at_ms_.load() >= ms; }

  // ContentHost.
  ObjectSource source_of(const Content& content) override;
  bool start(const std::shared_ptr<Content>& content, const std::shared_ptr<Segment>& segment) override;
  bool keep(const std::shared_ptr<Content>& content, int64_t offset) override {
    return fetcher_.keep(content, offset);
  }
  void unkept(size_t units) override { fetcher_.unkept(units); }
  void cancel(s3::RequestId request) override { fetcher_.cancel(request); }
  void promote(s3::RequestId request) override { fetcher_.promote(request); }
  bool reserve(Content& content, int64_t bytes) override;
  void unreserve(int64_t bytes) override { space_.unreserve(bytes); }
  void stored(Content& content, int64_t bytes) override;
  void post_disk(std::function<void()> job) override { workers_.post(std::move(job)); }
  void progressed(Content& content, bool full) override;
  void ended() override { fetcher_.ended(); }
  void kept_in_ram(const std::shared_ptr<Content>& content, int64_t offset) override;
  // Also for a sealed file that is missing or has another size than its record says.
  void damaged(Content& content) override;
  void went_stale(Content& content) override;
  void closing(Content& content) override;
  void load_checksums(Content& content) override;

  // ObjectProber.
  bool probe(uint64_t ino, const std::string& key, const meta::Inode& inode,
             s3::HeadCallback on_headers) override;
  bool holds(uint64_t ino, const meta::Inode& inode) override {
    return find({ino, version_of(inode)}) != nullptr;
  }

 private:
  struct Key {
    uint64_t ino, version;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& k) const {
      return static_cast<size_t>(k.ino * 0x9e3779b97f4a7c15U ^ k.version);
    }
  };

  std::shared_ptr<Content> find(const Key& key);
  bool unchanged(uint64_t ino, uint64_t fid);
  Result<std::shared_ptr<Content>> load(uint64_t ino, const meta::Inode& inode, std::string key);
  std::unique_ptr<cache::CacheFile> load_file(uint64_t ino, const meta::Inode& inode, bool* sealed);
  void record(Content& content, bool sealed);
  void forget(Content& content);
  void settle_file(Content& content);
  void housekeeping();
  void tick();
  void sync_recent();
  void drop_recent();

  Inodes& inodes_;
  meta::MetaStore& store_;
  cache::CacheDir& dir_;
  cache::FdCache& fds_;
  CacheSpace& space_;
  Fetcher& fetcher_;
  WorkerPool& workers_;
  Clock& clock_;
  const ReadaheadOptions readahead_;
  const NamespaceOptions names_;
  const uint64_t distrust_below_;  // fids before it count only if synced
  Namespace* namespace_ = nullptr;
  std::atomic<int64_t> busy_at_ms_{0};

  std::array<Mutex, 64> loading_;
  Mutex record_mu_;  // one writer of File records at a time (record() and sync_recent() both rewrite them)
  Mutex mu_;
  CondVar wake_;
  std::unordered_map<Key, std::weak_ptr<Content>, KeyHash> contents_ GUARDED_BY(mu_);
  // Have changes to record, and live until that is done: a Content that dies has nothing left to say.
  std::vector<std::shared_ptr<Content>> moved_ GUARDED_BY(mu_);
  // The last few probed contents stay alive until the OPEN that follows a LOOKUP finds them, or for
  // kRecentMs: their files could not be evicted.
  struct Recent {
    std::shared_ptr<Content> content;
    int64_t at_ms = 0;
  };
  std::vector<Recent> recent_ GUARDED_BY(mu_);
  size_t next_recent_ GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> unsynced_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  Mutex hook_mu_;
  std::function<void(uint64_t)> closed_hook_ GUARDED_BY(hook_mu_);
  std::thread ticker_;
};

}  // namespace s3cache::core
