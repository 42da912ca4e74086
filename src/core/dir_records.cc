#include "core/dir_records.h"

#include <algorithm>

#include "base/bytes.h"
#include "core/dir_collect.h"

namespace s3cache::core {

using meta::Batch;
using meta::Dirent;
using meta::Inode;
using meta::Kind;
using meta::Table;

namespace {

bool newer(const std::optional<Dirent>& dirent, int64_t asked_at_ns) {
  return dirent && dirent->checked_at_ns > asked_at_ns;
}

std::string encoded(uint64_t ino, int64_t checked_at_ns) {
  Dirent dirent;
  dirent.ino = ino;
  dirent.checked_at_ns = checked_at_ns;
  return dirent.encode();
}

bool is_directory(const Inode& inode) { return inode.kind == Kind::kDirectory; }

}  // namespace

Result<NameState> DirRecords::load(uint64_t parent, std::string_view name) {
  NameState out;
  const auto snapshot = c_.store().snapshot();
  const auto half = [&](bool directory, std::optional<Dirent>& dirent,
                        std::optional<Inode>& inode) -> Status {
    auto d = load_record<Dirent>(*snapshot, Table::kDirent, meta::dirent_key(parent, name, directory));
    if (!d.ok()) return d.error();
    dirent = *d;
    if (!dirent || dirent->ino == 0) return {};
    auto i = load_record<Inode>(*snapshot, Table::kInode, meta::id_key(dirent->ino));
    if (!i.ok()) return i.error();
    inode = std::move(*i);
    return {};
  };
  if (Status s = half(false, out.file, out.file_inode); !s.ok()) return s.error();
  if (Status s = half(true, out.dir, out.dir_inode); !s.ok()) return s.error();
  auto dir = load_record<meta::Dir>(*snapshot, Table::kDir, meta::id_key(parent));
  if (!dir.ok()) return dir.error();
  if (*dir && (*dir)->complete) out.listed_at_ns = (*dir)->listed_at_ns;
  return out;
}

Resolved DirRecords::pick(const NameState& state) {
  Resolved out;
  const bool file = state.has_file() && !state.is_marker();
  if (!file && !state.has_dir()) {
    out.checked_at_ns = std::max(state.file ? state.file->checked_at_ns : 0, state.listed_at_ns);
    if (state.file && state.file->checked_at_ns < 0) out.checked_at_ns = kExpired;
    out.pinned = state.file && state.file->checked_at_ns == kPinned;
    return out;
  }
  const Dirent& dirent = file ? *state.file : *state.dir;
  out.found = true;
  out.pinned = dirent.checked_at_ns == kPinned;
  out.ino = dirent.ino;
  out.inode = file ? *state.file_inode : *state.dir_inode;
  out.dirent_checked_at_ns = dirent.checked_at_ns;
  out.checked_at_ns =
      dirent.checked_at_ns < 0 ? kExpired : std::max(dirent.checked_at_ns, state.listed_at_ns);
  return out;
}

Status DirRecords::create(uint64_t parent, std::string_view name, const Inode& inode, int64_t asked_at_ns) {
  auto id = c_.store().next_id();
  if (!id.ok()) return id.error();
  Batch batch;
  batch.put(Table::kInode, meta::id_key(*id), inode.encode());
  batch.put(Table::kDirent, meta::dirent_key(parent, name, is_directory(inode)), encoded(*id, asked_at_ns));
  c_.store().apply(std::move(batch));
  return {};
}

Status DirRecords::settle_file(uint64_t parent, std::string_view name, const NameState& state,
                               const ServerWord& word, int64_t asked_at_ns, Notices& notices) {
  if (newer(state.file, asked_at_ns)) return {};
  if (!word.file) {
    if (state.file && state.file->ino != 0) remove_locked(parent, std::string(name), asked_at_ns, notices);
    return {};
  }
  // A listing that was asked later and ended has not shown it.
  if (!state.has_file() && state.listed_at_ns > asked_at_ns) return {};
  if (!state.has_file()) return create(parent, name, new_file(parent, name, *word.file), asked_at_ns);
  const auto listed = [&](Inode& inode, bool) { return apply_listed(inode, *word.file); };
  const auto updated = update_locked(state.file->ino, asked_at_ns, nullptr, listed, notices);
  return updated.ok() ? Status() : Status(updated.error());
}

Status DirRecords::settle_dir(uint64_t parent, std::string_view name, const NameState& state,
                              const ServerWord& word, int64_t asked_at_ns, Notices& notices) {
  if (word.dir == ServerWord::Directory::kUnknown || newer(state.dir, asked_at_ns)) return {};
  if (word.dir == ServerWord::Directory::kAbsent) {
    if (state.is_marker() && word.file) return {};
    if (state.dir) remove_locked(parent, std::string(name) + '/', asked_at_ns, notices);
    return {};
  }
  if (!state.has_dir() && state.listed_at_ns > asked_at_ns) return {};
  if (!state.has_dir()) return create(parent, name, new_directory(parent, name), asked_at_ns);
  Batch batch;
  batch.put(Table::kDirent, meta::dirent_key(parent, name, true), encoded(state.dir->ino, asked_at_ns));
  c_.store().apply(std::move(batch));
  return {};
}

Result<Resolved> DirRecords::settle(uint64_t parent, std::string_view name, const ServerWord& word,
                                    int64_t asked_at_ns) {
  Notices notices;
  Result<Resolved> out = Resolved();
  {
    MutexLock lock(c_.dir_lock(parent));
    auto state = load(parent, name);
    if (!state.ok()) return state.error();
    if (Status s = settle_file(parent, name, *state, word, asked_at_ns, notices); !s.ok()) return s.error();
    if (Status s = settle_dir(parent, name, *state, word, asked_at_ns, notices); !s.ok()) return s.error();
    state = load(parent, name);
    if (!state.ok()) return state.error();
    Batch batch;
    const std::string file_key = meta::dirent_key(parent, name, false);
    if (!state->has_file() && !state->has_dir() && c_.options.negative_cache &&
        !newer(state->file, asked_at_ns)) {
      batch.put(Table::kDirent, file_key, encoded(0, asked_at_ns));
    } else if (!state->has_file() && state->has_dir() && state->file) {
      batch.erase(Table::kDirent, file_key);
    }
    if (!batch.empty()) c_.store().apply(std::move(batch));
    out = pick(*state);
    if (!out->found) out->checked_at_ns = asked_at_ns;
  }
  notices.send(c_.listener);
  return out;
}

Result<Inode> DirRecords::update_locked(uint64_t ino, int64_t asked_at_ns, const meta::Ext* ext,
                                        const Apply& apply, Notices& notices) {
  bool tell = false;
  auto updated = c_.inodes.update(ino, [&](Inode& inode, Batch& batch) {
    // A marker stays in its file dirent although its kind is a directory's.
    std::string key = meta::dirent_key(inode.parent, inode.name, is_directory(inode));
    auto dirent = load_record<Dirent>(c_.store(), Table::kDirent, key);
    if (is_directory(inode) && !(dirent.ok() && *dirent && (*dirent)->ino == ino)) {
      key = meta::dirent_key(inode.parent, inode.name, false);
      dirent = load_record<Dirent>(c_.store(), Table::kDirent, key);
    }
    const bool named = ino != meta::kRootIno && dirent.ok() && *dirent && (*dirent)->ino == ino;
    const Kind old_kind = inode.kind;
    const bool unseen = c_.options.attr == AttrMode::kHead && inode.source == meta::AttrSource::kListing;
    const Change change = apply(inode, named && (*dirent)->checked_at_ns > asked_at_ns);
    if (named && (*dirent)->checked_at_ns < asked_at_ns)
      batch.put(Table::kDirent, key, encoded(ino, asked_at_ns));
    if (change == Change::kNone) return !batch.empty();
    if (change == Change::kIdentity) return true;
    batch.erase(Table::kExt, meta::id_key(ino));
    if (ext != nullptr && !empty(*ext)) batch.put(Table::kExt, meta::id_key(ino), ext->encode());
    tell = change == Change::kContent || !unseen || inode.kind != old_kind;
    return true;
  });
  if (tell) notices.changed(ino);
  return updated;
}

Result<Inode> DirRecords::update(uint64_t ino, int64_t asked_at_ns, const meta::Ext* ext,
                                 const Apply& apply) {
  auto inode = c_.inodes.get(ino);
  if (!inode.ok()) return inode;
  Notices notices;
  {
    MutexLock lock(c_.dir_lock(inode->parent));
    inode = update_locked(ino, asked_at_ns, ext, apply, notices);
  }
  notices.send(c_.listener);
  return inode;
}

Result<Resolved> DirRecords::directory_of_marker(uint64_t marker_ino) {
  const auto marker = c_.inodes.get(marker_ino);
  if (!marker.ok()) return marker.error();
  // Its attributes are the marker's, although it has no object "x/" itself.
  const auto take_over = [&marker](Inode& directory) {
    directory.implicit_dir = directory.kind_known = true;
    directory.source = meta::AttrSource::kHead;
    directory.mode = marker->mode;
    directory.has_owner = marker->has_owner;
    directory.uid = marker->uid;
    directory.gid = marker->gid;
    directory.mtime_ns = marker->mtime_ns;
    directory.ctime_ns = marker->ctime_ns;
    directory.atime_ns = marker->atime_ns;
  };
  MutexLock lock(c_.dir_lock(marker->parent));
  auto state = load(marker->parent, marker->name);
  if (!state.ok()) return state.error();
  if (!state->has_dir()) {
    Inode directory = new_directory(marker->parent, marker->name);
    take_over(directory);
    const int64_t at = state->file ? state->file->checked_at_ns : c_.now();
    if (Status s = create(marker->parent, marker->name, directory, at); !s.ok()) return s.error();
  } else if (state->dir_inode->implicit_dir) {
    (void)c_.inodes.update(state->dir->ino, [&](Inode& directory, Batch&) {
      const std::string before = directory.encode();
      take_over(directory);
      return directory.encode() != before;
    });
  }
  state = load(marker->parent, marker->name);
  if (!state.ok()) return state.error();
  return pick(*state);
}

void DirRecords::touch(uint64_t ino, int64_t checked_at_ns) {
  const auto inode = c_.inodes.get(ino);
  if (!inode.ok() || ino == meta::kRootIno) return;
  MutexLock lock(c_.dir_lock(inode->parent));
  for (const bool directory : {true, false}) {
    const std::string key = meta::dirent_key(inode->parent, inode->name, directory);
    auto dirent = load_record<Dirent>(c_.store(), Table::kDirent, key);
    if (!dirent.ok() || !*dirent || (*dirent)->ino != ino || (*dirent)->checked_at_ns == kPinned) continue;
    Batch batch;
    batch.put(Table::kDirent, key, encoded(ino, checked_at_ns));
    c_.store().apply(std::move(batch));
  }
}

void DirRecords::remove_locked(uint64_t parent, const std::string& tail, int64_t asked_at_ns,
                               Notices& notices) {
  const bool directory = tail.back() == '/';
  const std::string key = be64(parent) + tail;
  auto dirent = load_record<Dirent>(c_.store(), Table::kDirent, key);
  if (!dirent.ok() || !*dirent || newer(*dirent, asked_at_ns)) return;
  Batch batch;
  batch.erase(Table::kDirent, key);
  const uint64_t ino = (*dirent)->ino;
  if (ino == 0) {
    c_.store().apply(std::move(batch));
    return;
  }
  if (directory) {
    DirCollector::condemn(ino, batch);
    // Something below it is on its way to S3: with it the directory will be there again.
    if (!c_.inodes.pins().remove_unless_pinned(ino, std::move(batch))) return;
  } else {
    c_.inodes.remove(ino, std::move(batch));
  }
  notices.changed(ino);
  notices.removed(parent, tail.substr(0, tail.size() - (directory ? 1 : 0)));
}

}  // namespace s3cache::core
