// DirRecords: the dirents of directories in the store: what is known of a name, and writing down what the
// server said.
//
// A dirent remembers when the question was asked whose answer it holds. That is the rule against stale
// answers: an answer to a question asked before a dirent's checked_at never changes that dirent, so a listing
// that was on its way neither resurrects nor hides what a later lookup (or a change made by this mount, which
// writes its dirent with the time of its completion) established. checked_at < 0 is an expired name: nothing
// makes it fresh but asking. "x" and "x/" are two dirents; the file wins. An object that its HEAD shows to be
// a directory (the old "dir" form without a slash) stays in its file dirent as a marker, kind kDirectory, and
// the directory beside it is what lookups see.
//
// Removing an inode leaves its cache file's record to the data path: a kFile whose inode is gone, or has
// another fid, is garbage there. A removed directory's children are collected later (dir_collect.h). Threads:
// any; takes the directory's lock, then the inode's. Errors: those of MetaStore.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/attributes.h"
#include "core/namespace_context.h"

namespace s3cache::core {

inline constexpr int64_t kExpired = -1;

// A record of the store, nullopt if it is absent or unreadable. From: MetaStore or Snapshot.
template <class Record, class From>
Result<std::optional<Record>> load_record(From& from, meta::Table table, std::string_view key) {
  auto value = from.get(table, key);
  if (!value.ok()) return value.error();
  if (!value->has_value()) return std::optional<Record>();
  return Record::decode(**value);
}

// Everything the store knows of a name, of one moment.
struct NameState {
  std::optional<meta::Dirent> file, dir;  // file->ino == 0: known to be absent
  std::optional<meta::Inode> file_inode, dir_inode;
  int64_t listed_at_ns = 0;  // the complete listing of the parent, 0: none

  bool has_file() const { return file && file->ino != 0 && file_inode; }
  bool has_dir() const { return dir && dir->ino != 0 && dir_inode; }
  bool is_marker() const { return has_file() && file_inode->kind == meta::Kind::kDirectory; }
};

// What the server said of one name. `file` empty: no such object.
struct ServerWord {
  enum class Directory : uint8_t { kUnknown, kAbsent, kPresent };
  std::optional<s3::ListedObject> file;
  Directory dir = Directory::kUnknown;
};

class DirRecords {
 public:
  explicit DirRecords(NsContext& context) : c_(context) {}

  Result<NameState> load(uint64_t parent, std::string_view name);
  // What a lookup answers from this state, fresh or not.
  static Resolved pick(const NameState& state);

  // Writes the word down and returns the name as it then stands.
  Result<Resolved> settle(uint64_t parent, std::string_view name, const ServerWord& word,
                          int64_t asked_at_ns);

  // Applies an answer to an inode together with the new time of its dirent. When the attributes changed the
  // ext record goes, or becomes `ext`, and the listener is told, unless nobody can have seen the old ones.
  // `late` says that the dirent holds a younger answer already.
  using Apply = std::function<Change(meta::Inode& inode, bool late)>;
  Result<meta::Inode> update(uint64_t ino, int64_t asked_at_ns, const meta::Ext* ext, const Apply& apply);
  // REQUIRES: the lock of the inode's directory is held.
  Result<meta::Inode> update_locked(uint64_t ino, int64_t asked_at_ns, const meta::Ext* ext,
                                    const Apply& apply, Notices& notices);

  // The directory that stands for an object found to be one ("dir" without a slash).
  Result<Resolved> directory_of_marker(uint64_t marker_ino);

  // Sets the dirent's time of the inode to "expired", or to a later time.
  void touch(uint64_t ino, int64_t checked_at_ns);

  // Removes a name (a dirent key's tail) unless an answer asked after `asked_at_ns` has confirmed it.
  // REQUIRES: the directory's lock is held.
  void remove_locked(uint64_t parent, const std::string& tail, int64_t asked_at_ns, Notices& notices);

 private:
  Status settle_file(uint64_t parent, std::string_view name, const NameState& state, const ServerWord& word,
                     int64_t asked_at_ns, Notices& notices);
  Status settle_dir(uint64_t parent, std::string_view name, const NameState& state, const ServerWord& word,
                    int64_t asked_at_ns, Notices& notices);
  Status create(uint64_t parent, std::string_view name, const meta::Inode& inode, int64_t asked_at_ns);

  NsContext& c_;
};

}  // namespace s3cache::core
