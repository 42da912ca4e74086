// Record codecs: what lies in the tables of MetaStore, version 1 of the format. src/DESIGN.md says why.
//
// Every value starts with a version byte; decode() answers nullopt for another version, a short or an
// overlong record (the caller treats that record as absent, except in kJournal and kDirty, which go to the
// quarantine). No value is over 1,900 bytes (LMDB keeps it on the page), except an Ext with a longer symlink
// target, xattrs or headers and an Intent of long keys: those are never cut, and LMDB gives them pages of
// their own. Integers are big-endian.
// Threads: pure functions. Units: bytes, UNIX nanoseconds (_ns) or seconds (_s).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "meta/meta_store.h"

namespace s3cache::meta {

inline constexpr uint64_t kRootIno = 1;
inline constexpr size_t kMaxValue = 1900;
inline constexpr size_t kMaxExt =
    16'384;  // all the headers a client hands out (8 KiB) are kept: copies replay them

enum class Kind : uint8_t { kFile = 0, kDirectory = 1, kSymlink = 2, kSpecial = 3 };

// Where mode, uid, gid and times of an inode come from.
enum class AttrSource : uint8_t {
  kListing = 0,    // size, ETag and LastModified only; the rest is the mount's default
  kHead = 1,       // the object's own headers, good for this (ETag, LastModified)
  kHeadYoung = 2,  // as kHead, but the server's Date was < LastModified + 2 s: asked once more past the TTL
  kLocal = 3,      // set here, upload pending
};

// Inode::flags: it has no name any more and is kept for those who have it open.
inline constexpr uint32_t kUnlinked = 1;

// A name in a directory. ino 0: known to be absent (a negative entry).
struct Dirent {
  uint64_t ino = 0;
  int64_t checked_at_ns = 0;  // wall clock of the last word of the server on this name
  std::string encode() const;
  static std::optional<Dirent> decode(std::string_view v);
};

struct Inode {
  uint64_t parent = 0;
  Kind kind = Kind::kFile;
  AttrSource source = AttrSource::kListing;
  bool kind_known = false;    // false: listed, at most 4,095 bytes, never asked (may be a symlink or special)
  bool implicit_dir = false;  // a directory without an object of its own
  uint32_t mode = 0;          // with type bits, 0: the mount's default
  uint32_t uid = 0, gid = 0;
  bool has_owner = false;  // uid, gid came with the object
  uint32_t rdev = 0;
  int64_t size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0, atime_ns = 0;
  int64_t last_modified_s = 0;
  uint64_t fid = 0;      // cache file of this version, 0: none yet
  int64_t base_len = 0;  // bytes at or past it never come from S3
  // 0: the version of the content follows from ETag and size. Else the content was changed here and this is
  // its version: it stays the same through local writes and their uploads, so that handles, mappings and
  // kernel caches of this mount stay one file.
  uint64_t lineage = 0;
  uint32_t flags = 0;  // for later versions of the program, kept as they are
  std::string etag;    // at most 255 bytes
  std::string name;    // the last component, at most 255 bytes, without '/'
  std::string encode() const;
  static std::optional<Inode> decode(std::string_view v);
  static bool valid(std::string_view v);  // decode() would succeed
};

// Cold part of an inode.
struct Ext {
  std::string symlink;                                       // target
  std::string xattrs;                                        // the raw x-amz-meta-xattr value
  std::vector<std::pair<std::string, std::string>> headers;  // kept headers
  std::string encode() const;  // drops headers from the end until it fits kMaxExt
  static std::optional<Ext> decode(std::string_view v);
};

struct Dir {
  int64_t listed_at_ns = 0;  // wall clock of the start of the last complete listing
  bool complete = false;     // a name that is not a dirent does not exist (as of listed_at)
  std::string encode() const;
  static std::optional<Dir> decode(std::string_view v);
};

enum class FileState : uint8_t { kPartial = 0, kSealed = 1, kModified = 2 };

// One cache file: one version of one object.
struct File {
  FileState state = FileState::kPartial;
  bool synced = false;      // known to be on the disk's platters: trusted after a power cut
  bool registered = false;  // was handed to the kernel once: immutable for ever
  uint64_t ino = 0;
  int64_t size = 0;
  int64_t valid_bytes = 0;  // for the budget, as of the last write of this record
  int64_t last_used_s = 0;
  uint64_t key_hash = 0;  // of the S3 key: ghost entries and eviction
  std::string etag;
  std::string encode() const;
  static std::optional<File> decode(std::string_view v);
};

// A change of names or attributes that is not on S3 yet, or not wholly. Replayed in the order of the keys.
struct Intent {
  // Stable on disk: never renumber.
  enum class Op : uint8_t {
    kCreate = 0,      // a new file; its draft brings it to S3
    kMake = 1,        // mkdir, mknod, symlink: PUT of `key`
    kRemove = 2,      // DELETE of `key`, if it still is the version `etag`
    kAttributes = 3,  // the record's attributes are to be written to the object
    kRename = 4,      // one file: COPY of `key` to `new_key`, then a kRemove takes its place
    kRenameTree = 5,  // a directory: every key below `key`
  };
  Op op = Op::kCreate;
  uint8_t stage = 0;      // of kRenameTree: 0 copying, 1 copied, the source goes, 2 failed, the copies go
  bool promised = false;  // the caller was told that it is done: carried out, never taken back
  bool is_dir = false;
  uint64_t ino = 0, parent = 0, new_parent = 0;
  std::string name, new_name;  // last components
  std::string key, new_key;    // of S3, with the mount's prefix
  std::string etag;            // the version it was decided on; empty: not known
  int64_t last_modified_s = 0;
  int64_t made_at_ns = 0;
  std::string encode() const;  // up to 2.9 KB: two keys and two names are never cut
  static std::optional<Intent> decode(std::string_view v);
};

// Validity of 4 KiB pages in one 32 MiB chunk: 8,192 bits, bit i of byte i/8 (LSB first). A full chunk is one
// byte on disk. REQUIRES: encode: bits.size() == 1024.
std::string encode_bitmap(std::string_view bits);
std::optional<std::string> decode_bitmap(std::string_view v);  // always 1,024 bytes

// CRC32C of the 256 blocks of 64 KiB in one 16 MiB chunk; known[i] says whether crc[i] holds.
struct CrcChunk {
  std::array<uint32_t, 256> crc{};
  std::array<bool, 256> known{};
  std::string encode() const;  // 1 + 32 + 4 bytes for each known block
  static std::optional<CrcChunk> decode(std::string_view v);
};

// Keys.
std::string dirent_key(uint64_t parent, std::string_view name, bool directory);
struct DirentKey {
  uint64_t parent;
  std::string_view name;  // without the '/'
  bool directory;
};
std::optional<DirentKey> parse_dirent_key(std::string_view key);
std::string id_key(uint64_t id);                      // kInode, kExt, kDir, kFile, kTrash, kJournal
std::string chunk_key(uint64_t fid, uint32_t chunk);  // kMap, kCrc

// Whether this program can have written the record: its key has the table's form and its value decodes. Costs
// no memory for names and inodes (30 ns): every read from the disk asks it. kJournal and kDirty: keys only.
bool record_ok(Table table, std::string_view key, std::string_view value);

}  // namespace s3cache::meta
