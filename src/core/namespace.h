// Namespace: names, attributes and listings, out of LMDB inside the TTL and out of S3 past it.
//
// The rules are design.md's "Metadata rules" (src/DESIGN.md states them as built). In short: inside
// stat_cache_expire a name is there or absent without a request; a cold single name costs one LIST, a known
// object a HEAD, a directory one LIST per 1,000 names written as a merge-join that touches only differences;
// what only HEAD knows is asked lazily, once per (ETag, LastModified), single-flight, siblings in parallel
// when somebody stats a directory.
//
// Threads: every method from any thread; nothing blocks on the network. A callback runs either on the
// caller's thread (answer known) or on a network thread, never under a lock, exactly once. Lock order:
// directory (lower id first), then inode (Inodes::update). No lock across a request or a callback. Owns: the
// single-flight tables and directory streams. Borrows: everything in its constructor. Errors: kNotFound,
// kNotDirectory, kStale, kNameTooLong, kAccessDenied and what S3Client reports.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "core/inodes.h"
#include "core/types.h"
#include "s3/s3_client.h"

namespace s3cache::core {

enum class AttrMode : uint8_t { kHead, kList };  // -o attr=head|list

struct NamespaceOptions {
  AttrMode attr = AttrMode::kHead;
  int64_t ttl_ms = 900'000;       // stat_cache_expire
  bool ttl_since_access = false;  // stat_cache_interval_expire
  // The server's words of before this moment do not count: the last mount was killed, and changes that it had
  // seen through may be missing from its records.
  int64_t distrust_before_ns = 0;
  bool negative_cache = true;
  int64_t small_file = 1 << 20;  // bytes; an unknown object up to this is asked by GET instead of HEAD
  int max_parallel_heads = 64;
  int list_max_keys = 1000;
  // What is shown where the object says nothing, and what overrides it.
  uint32_t default_uid = 0, default_gid = 0;
  uint32_t default_file_mode = 0640, default_dir_mode = 0750;
  uint32_t root_mode = 0700;
  bool force_uid = false, force_gid = false;  // -o uid=, gid=: shown as owner of everything (default_uid/gid)
  bool force_umask = false;                   // -o umask=: modes are 0777 & ~umask
  uint32_t umask = 0;
  bool compat_dir = false;   // dir_$folder$ objects are directories
  int64_t max_entries = -1;  // names known at most, while there are cold ones; -1: any number
};

// The data side of a small object's first LOOKUP: one GET whose headers answer the LOOKUP and whose body is
// in the cache when the OPEN comes. Implemented by the data path (core/files.h).
class ObjectProber {
 public:
  virtual ~ObjectProber() = default;
  // False: refused (no memory, no room, cache off): the caller sends a HEAD instead and on_headers is not
  // called. on_headers runs once on a network thread, before the body is complete, or with the GET's error.
  virtual bool probe(uint64_t ino, const std::string& key, const meta::Inode& inode,
                     s3::HeadCallback on_headers) = 0;
  // This version of the inode is open, or on its way.
  virtual bool holds(uint64_t ino, const meta::Inode& inode) {
    (void)ino, (void)inode;
    return false;
  }
};

// Told when an inode's attributes or content changed behind the kernel's back. Enqueues only, never blocks.
class ChangeListener {
 public:
  virtual ~ChangeListener() = default;
  virtual void inode_changed(uint64_t ino) = 0;
  virtual void entry_removed(uint64_t parent, std::string_view name) = 0;
};

// Receives the entries of one readdir call. add() copies; false: the reply is full, this entry did not go in.
class DirSink {
 public:
  virtual ~DirSink() = default;
  virtual bool add(const DirItem& item) = 0;
};

// An open directory: its place in the stream. One readdir call at a time (the kernel holds the directory's
// lock).
class DirHandle {
 public:
  virtual ~DirHandle() = default;
};

struct NamespaceStats {
  uint64_t lookups = 0, lookup_hits = 0, listings = 0, heads = 0, probes = 0;
  uint64_t unnameable_keys = 0;  // keys POSIX cannot name: counted, logged once
};

class Namespace {
 public:
  static std::unique_ptr<Namespace> make(Inodes& inodes, s3::S3Client& s3, ObjectProber* prober,
                                         ChangeListener* listener, Clock& clock,
                                         const NamespaceOptions& options);
  virtual ~Namespace() = default;

  virtual void lookup(Caller caller, uint64_t parent, std::string_view name, Callback<LookupReply> done) = 0;
  // As lookup, for changes of the name alone: a regular file's attributes may be unknown still.
  virtual void locate(uint64_t parent, std::string_view name, Callback<LookupReply> done) {
    lookup({}, parent, name, std::move(done));
  }
  // Attributes within the TTL, from the server past it (a HEAD for a file).
  virtual void getattr(Caller caller, uint64_t ino, Callback<Entry> done) = 0;
  // Asks the server now, whatever the TTL says (O_DIRECT open, a 412 on a GET).
  virtual void revalidate(uint64_t ino, Callback<Entry> done) = 0;
  // Forgets that the attributes were checked: the next lookup or getattr asks again. After a 412 on a GET.
  virtual void expire(uint64_t ino) = 0;

  virtual Result<std::shared_ptr<DirHandle>> opendir(uint64_t ino) = 0;
  // Entries behind `cookie` (0: from the start, "." and ".." first) go to `sink` until it is full; done(true)
  // means there may be more, done(false) the end. While the listing still runs, entries go out as its pages
  // arrive. A cookie of a name that is gone resumes at its place.
  virtual void readdir(std::shared_ptr<DirHandle> dir, uint64_t cookie, bool plus,
                       std::shared_ptr<DirSink> sink, Callback<bool> done) = 0;

  virtual void readlink(uint64_t ino, Callback<std::string> done) = 0;
  // Symlink target, xattrs and kept headers, with a HEAD if they are not known yet.
  virtual void ext(uint64_t ino, Callback<meta::Ext> done) = 0;

  // The name is about to be removed: walk detection learns what its LOOKUP was for.
  virtual void removing(uint64_t parent, std::string_view name) {
    (void)parent;
    (void)name;
  }
  // An OPEN reached this inode: stat-walk detection ends for its directory.
  virtual void opened(Caller caller, uint64_t ino) = 0;

  // Soft work, a step at a time, for one thread: forgets cold names beyond max_entries, and what lies below
  // directories that are gone. Returns the ms until it wants to be called again.
  virtual int64_t tend() { return 1000; }

  virtual NamespaceStats stats() const = 0;
};

// What a file's record says to the kernel. ttl_ms is the caller's to set.
Entry entry_of(uint64_t ino, const meta::Inode& inode, const NamespaceOptions& options);
// The version number of a content: a 64-bit hash of ETag and size (LastModified where there is no ETag).
uint64_t version_of(const meta::Inode& inode);

}  // namespace s3cache::core
