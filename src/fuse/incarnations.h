// Incarnations: which FUSE nodeid stands for which content of an inode, and who has it open.
//
// st_ino is the persistent id; a nodeid names one incarnation (version x I/O mode), so the kernel's page
// cache is per version and never has to be emptied. A nodeid equals the ino until an open needs another one;
// the successor comes from the same counter and is never reused. Inodes nobody opened have no entry: they are
// stateless.
//
// An entry lives while it has handles, while the kernel may hold pages of it (the `page_records` last closed
// ones), or, for a nodeid other than the ino, until FORGET. A page record that falls out of that list stays
// until the notifier has made the kernel drop the pages, so that its nodeid is never trusted too early.
//
// All writers of an inode share one nodeid, the current one; readers of before may live on under others. What
// the kernel keeps under those is made to follow: their pages are dropped after each write, their attributes
// are believed for no time (one invalidation when the writer comes, a TTL of 0 from then on).
//
// The kernel walks again once after an ESTALE, not twice. So a writer that was refused keeps passthrough off
// its inode for `reservation`: readers that come and go may take neither the next nodeid nor the plain one.
//
// Threads: every method from any thread. Owns: Handles, from open() to close(). Hooks run without a lock.
// Errors: only those of next_id. Lock order: shard -> aliases.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "core/filesystem.h"
#include "fuse/open_mode.h"

namespace s3cache::fuse {

// One OPEN; its address is the kernel's fh.
struct Handle {
  std::shared_ptr<core::OpenFile> file;
  uint64_t nodeid = 0;
  uint64_t ino = 0;
  Handle* prev = nullptr;  // in the incarnation's list
  Handle* next = nullptr;
};

class Incarnations {
 public:
  using NextId = std::function<Result<uint64_t>()>;
  // Asked to make the kernel drop the pages of nodeid; calls pages_dropped(nodeid, stamp) when it has.
  using DropPages = std::function<void(uint64_t nodeid, uint64_t stamp)>;
  // Asked to make the kernel forget the attributes of nodeid.
  using DropAttributes = std::function<void(uint64_t nodeid)>;

  Incarnations(NextId next_id, DropPages drop_pages, DropAttributes drop_attributes, size_t page_records,
               std::chrono::milliseconds reservation = std::chrono::seconds(1));
  ~Incarnations();

  uint64_t ino_of(uint64_t nodeid);

  // The nodeid a LOOKUP or READDIRPLUS answers for a regular file; counts one lookup if it is not the ino.
  Result<uint64_t> nodeid_for(uint64_t ino, uint64_t version);
  void forget(uint64_t nodeid, uint64_t lookups);

  struct Grant {
    Verdict verdict = Verdict::kStale;
    Handle* handle = nullptr;  // null for kWait and kStale
    int32_t backing_id = 0;    // for kJoin
  };
  enum class Io : uint8_t { kAny, kNoPassthrough, kOnlyCached };  // kOnlyCached: not even joining passthrough
  // kRegister: the caller registers the backing file and then calls registered(). kWait: `again` runs later.
  Grant open(uint64_t nodeid, const std::shared_ptr<core::OpenFile>& file, Io io,
             const std::function<void()>& again);
  // Whether an open for writing would be kStale whatever core answers; then retires it as open() does. Asked
  // before core is, which may truncate.
  bool refuses_writer(uint64_t nodeid);
  // A successor has taken over: who comes by a path is sent there (ESTALE).
  bool superseded(uint64_t nodeid);
  // Bytes or length changed through nodeid, just now.
  void content_changed(uint64_t nodeid);
  // Attributes changed through nodeid: the other nodeids of the inode forget theirs.
  void attributes_changed(uint64_t nodeid);
  // False: the kernel must ask again each time, the file may change through another nodeid.
  bool attributes_last(uint64_t nodeid);
  // backing_id 0: it failed; the incarnation goes on in cached mode.
  void registered(Handle* handle, int32_t backing_id);
  // RELEASE, or an OPEN reply that reached nobody. Returns the backing id to give back, 0: none.
  int32_t close(Handle* handle);

  // What GETATTR must say where core's answer is of another version: the attributes of the live handles.
  std::optional<core::Attr> live_attr(uint64_t nodeid, uint64_t version);
  // Same without an answer from core: any live handle's. Only_retired: only where core need not be asked at
  // all.
  std::optional<core::Attr> live_attr(uint64_t nodeid, bool only_retired);

  // Every nodeid the kernel may know for ino.
  std::vector<uint64_t> nodeids_of(uint64_t ino);
  void pages_dropped(uint64_t nodeid, uint64_t stamp);

  struct Stats {
    size_t records = 0, aliases = 0, open_handles = 0, page_records = 0;
  };
  Stats stats();

 private:
  struct Node : NodeState {
    uint64_t nodeid = 0;
    uint64_t ino = 0;
    uint64_t lookups = 0;  // counted only where nodeid != ino
    uint64_t stamp = 0;    // moves at every open: a page record that was used again is not dropped
    int32_t backing_id = 0;
    Handle* handles = nullptr;
    std::vector<std::function<void()>> waiters;
    std::list<Node*>::iterator lru;
    bool in_lru = false;
  };
  struct Inode {
    std::vector<std::unique_ptr<Node>> nodes;  // nearly always one
    Node* find(uint64_t nodeid);
    Node* current();  // the one that is not retired
  };
  struct Shard {
    Mutex mu;
    std::unordered_map<uint64_t, Inode> inodes GUARDED_BY(mu);
    std::list<Node*> lru GUARDED_BY(mu);  // closed, with pages; oldest first
    // ino -> until when a writer may still come. Outlives the inode's entry.
    std::unordered_map<uint64_t, std::chrono::steady_clock::time_point> reserved GUARDED_BY(mu);
  };
  struct Dropped {
    uint64_t nodeid, stamp;
  };
  static constexpr size_t kShards = 64;

  Shard& shard(uint64_t ino) { return shards_[(ino * 0x9E3779B97F4A7C15ull) >> 58]; }
  void attach(Node& node, Handle* handle, Shard& s) REQUIRES(s.mu);
  // A writer comes to `node`. Returns the nodeids whose attributes no longer last.
  std::vector<uint64_t> overtake(Shard& s, Inode& inode, Node& node) REQUIRES(s.mu);
  Node* find(Shard& s, uint64_t ino, uint64_t nodeid) REQUIRES(s.mu);
  bool superseded(Shard& s, uint64_t ino, uint64_t nodeid) REQUIRES(s.mu);
  // Sends a writer to look again, and sees to it that the nodeid it will be told takes it.
  void make_way(Shard& s, uint64_t ino) REQUIRES(s.mu);
  bool reserved(Shard& s, uint64_t ino) REQUIRES(s.mu);
  void closed(Shard& s, Node& node, std::optional<Dropped>& drop) REQUIRES(s.mu);
  void erase(Shard& s, Node& node) REQUIRES(s.mu);
  void leave_lru(Shard& s, Node& node) REQUIRES(s.mu);
  void retire(Node& node) { node.retired = true; }

  const NextId next_id_;
  const DropPages drop_pages_;
  const DropAttributes drop_attributes_;
  const size_t lru_limit_;  // a shard
  const std::chrono::milliseconds reservation_;
  std::array<Shard, kShards> shards_;
  std::atomic<size_t> alias_count_{0};
  SharedMutex aliases_mu_;
  std::unordered_map<uint64_t, uint64_t> aliases_ GUARDED_BY(aliases_mu_);  // nodeid -> ino where they differ
};

}  // namespace s3cache::fuse
