// The part of Removals that knows about directories: are they empty, and do they stay.
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "core/attr_changes.h"
#include "core/dir_collect.h"
#include "core/namespace_names.h"
#include "core/removals.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;
using meta::Intent;
using meta::Kind;
using meta::Table;

bool Removals::has_names(uint64_t dir) {
  bool any = false;
  const auto look = [&any](std::string_view, std::string_view value) {
    const auto dirent = meta::Dirent::decode(value);
    any = dirent && dirent->ino != 0;
    return !any;
  };
  const std::string prefix = be64(dir);
  const Status s = c_.ns.store().scan(Table::kDirent, prefix, prefix, SIZE_MAX, look);
  return !s.ok() || any;
}

void Removals::check_empty(uint64_t dir, Callback<void> done) {
  const auto full = [&] {
    return Error{Code::kNotEmpty, "directory " + std::to_string(dir) + " is not empty"};
  };
  const auto known = load_record<meta::Dir>(c_.ns.store(), Table::kDir, meta::id_key(dir));
  if (!known.ok()) return done(known.error());
  if (*known && (*known)->complete && c_.ns.fresh((*known)->listed_at_ns)) {
    return done(has_names(dir) ? Status(full()) : Status());
  }
  auto key = c_.ns.inodes.key_of(dir);
  if (!key.ok()) return done(Error{Code::kNotFound, key.error().message});
  // What was removed a moment ago must be gone, or it would fill the answer.
  auto ask = [this, dir, key = *key, done = std::move(done)] {
    s3::ListRequest request;
    request.prefix = key;
    request.delimiter = false;
    request.max_keys = 2;
    c_.ns.s3.list(std::move(request), [this, dir, key, done](const Result<s3::ListPage>& page) {
      if (!page.ok()) return done(page.error());
      for (const auto& object : page->objects) {
        if (object.key != key) return done(Error{Code::kNotEmpty, key + " is not empty"});
      }
      // Names the server does not have (any more) do not count, but those that are on their way to it.
      bool pinned = false;
      std::vector<std::string> stale;
      const std::string prefix = be64(dir);
      const auto look = [&](std::string_view name, std::string_view value) {
        const auto dirent = meta::Dirent::decode(value);
        if (!dirent || dirent->ino == 0) return true;
        pinned |= dirent->checked_at_ns == kPinned;
        stale.emplace_back(name);
        return !pinned;
      };
      const Status s = c_.ns.store().scan(Table::kDirent, prefix, prefix, SIZE_MAX, look);
      if (!s.ok()) return done(s);
      if (pinned) return done(Error{Code::kNotEmpty, key + " is not empty"});
      Notices notices;
      {
        MutexLock lock(c_.ns.dir_lock(dir));
        for (const std::string& name : stale) {
          c_.records.remove_locked(dir, name.substr(prefix.size()), c_.ns.now(), notices);
        }
      }
      notices.send(c_.ns.listener);
      done(Status());
    });
  };
  hurry(*key);
  c_.ledger.when_settled(std::move(ask));
}

void Removals::keep_directories(const std::vector<uint64_t>& dirs) {
  for (const uint64_t dir : dirs) keep_directory(dir);
}

void Removals::keep_directory(uint64_t dir) {
  if (dir == meta::kRootIno) return;
  const auto needs_object = [this, dir] {
    const auto inode = c_.ns.inodes.get(dir);
    if (!inode.ok() || !inode->implicit_dir || (inode->flags & meta::kUnlinked) != 0) return false;
    const auto known = load_record<meta::Dir>(c_.ns.store(), Table::kDir, meta::id_key(dir));
    return known.ok() && *known && (*known)->complete && !has_names(dir);
  };
  if (!needs_object()) return;
  c_.queue.run(dir, [this, dir, needs_object](InodeQueue::Turn turn) {
    auto key = c_.ns.inodes.key_of(dir);
    if (!key.ok() || !needs_object()) return;
    s3::PutRequest request;
    request.key = *key;
    // Without attributes, as it had none: the mount's defaults go on.
    request.headers.emplace_back("content-type", content_type_of(*key, c_.options.mime_file));
    request.priority = s3::Priority::kBackground;
    const uint64_t change = c_.ledger.begin();
    c_.ns.s3.put(std::move(request), [this, dir, key = *key, change,
                                      turn](const Result<s3::Written>& written) mutable {
      if (written.ok()) {
        (void)c_.edits.write(
            dir,
            [&](Inode& inode) {
              inode.implicit_dir = false;
              inode.kind_known = true;
              inode.etag = written->etag;
              inode.last_modified_s = written->last_modified;
            },
            nullptr);
      } else {
        log::warn("the empty directory {} gets no object of its own: {}", key, written.error().message);
      }
      turn.reset();
      c_.ledger.end(change);
    });
  });
}

void Removals::discard(uint64_t ino, bool is_dir) {
  if (ino == 0) return;
  if (is_dir) {
    Batch batch;
    DirCollector::condemn(ino, batch);
    c_.ns.inodes.remove(ino, std::move(batch));
    return;
  }
  c_.drafts.unlinked(ino);
  if (!c_.drafts.in_use(ino)) return c_.ns.inodes.remove(ino, {});
  // Open for writing: the record serves its handles, and goes at the next mount at the latest.
  Intent intent;
  intent.op = Intent::Op::kRemove;
  intent.stage = 1;
  intent.ino = ino;
  uint64_t seq = 0;
  (void)c_.ns.inodes.update(ino, [&](Inode& inode, Batch& batch) {
    inode.flags |= meta::kUnlinked;
    seq = c_.journal.add(batch, intent);
    return true;
  });
  if (seq == 0) return;
  MutexLock lock(mu_);
  kept_[ino] = seq;
}

}  // namespace s3cache::core
