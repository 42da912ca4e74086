#include "core/tree_rename.h"

#include <utility>

#include "base/bytes.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "core/tree_rename_job.h"

namespace s3cache::core {

using meta::Ext;
using meta::Inode;
using meta::Intent;
using meta::Kind;
using meta::Table;

void TreeRename::rename(const Intent& intent, uint64_t target, Callback<void> done) {
  auto job = std::make_shared<Job>();
  job->intent = intent;
  job->intent.op = Intent::Op::kRenameTree;
  job->target = target;
  job->done = std::move(done);
  job->change = c_.ledger.begin();
  save_drafts(job);
}

// --- before: what is under way below it

// Files below it that writers changed and S3 has a version of: it gets the newest. (Their parts may be on the
// way under the old key.) New ones move with the directory, and go up later.
void TreeRename::save_drafts(const JobPtr& job) {
  std::vector<uint64_t> drafts, dirs{job->intent.ino};
  while (!dirs.empty()) {
    const std::string prefix = be64(dirs.back());
    dirs.pop_back();
    std::vector<uint64_t> files;
    const auto look = [&](std::string_view key, std::string_view value) {
      const auto dirent = meta::Dirent::decode(value);
      if (dirent && dirent->ino != 0) (key.back() == '/' ? dirs : files).push_back(dirent->ino);
      return true;
    };
    (void)c_.ns.store().scan(Table::kDirent, prefix, prefix, SIZE_MAX, look);
    for (const uint64_t ino : files) {
      if (!c_.drafts.has_draft(ino)) continue;
      const auto inode = c_.ns.inodes.get(ino);
      if (inode.ok() && (!inode->etag.empty() || c_.drafts.may_be_on_s3(ino))) drafts.push_back(ino);
    }
  }
  job->waits = drafts.size() + 1;
  const auto one = [this, job](const Status& saved) {
    if (!saved.ok()) job->give_reason(saved.error());
    if (job->waits.fetch_sub(1) > 1) return;
    if (const auto error = job->reason()) return end(job, *error);
    enlist(job);
  };
  for (const uint64_t ino : drafts) c_.drafts.save(ino, one);
  one(Status());
}

void TreeRename::enlist(const JobPtr& job) {
  const Intent& intent = job->intent;
  if (const auto key = c_.ns.inodes.key_of(intent.ino); key.ok()) removals_.hurry(*key);
  std::vector<uint64_t> places{intent.ino};
  if (const auto key = c_.ns.inodes.child_key(intent.new_parent, intent.new_name); key.ok()) {
    removals_.hurry(*key + '/');
    places.push_back(InodeQueue::key_place(*key));  // a file that is to go there first
  }
  if (job->target != 0) places.push_back(job->target);
  c_.queue.run_all(std::move(places), {intent.parent, intent.new_parent}, [this, job](InodeQueue::Turn turn) {
    job->turn = std::move(turn);
    close_gate(job);
  });
}

void TreeRename::close_gate(const JobPtr& job) {
  // The two directories themselves are this job's places already.
  const auto inside = [this, top = job->intent.ino, target = job->target](uint64_t ino) {
    if (ino == top || ino == target) return false;
    return c_.ns.inodes.is_below(ino, top) || (target != 0 && c_.ns.inodes.is_below(ino, target));
  };
  c_.queue.close_gate(inside, [this, job](uint64_t gate) {
    job->gate = gate;
    begin(job);
  });
}

void TreeRename::begin(const JobPtr& job) {
  Intent& intent = job->intent;
  auto inode = c_.ns.inodes.get(intent.ino);
  auto key = c_.ns.inodes.key_of(intent.ino);
  auto new_key = c_.ns.inodes.child_key(intent.new_parent, intent.new_name);
  if (!inode.ok() || !key.ok() || !new_key.ok()) return end(job, Error{Code::kNotFound, intent.name});
  intent.key = std::move(*key);
  intent.new_key = *new_key + '/';
  intent.etag = inode->etag;
  job->inode = std::move(*inode);
  // On record before the first copy: after a crash nobody else would know it for half a rename.
  const auto durable = c_.outstanding.wrap([this, job](const Status& s) {
    job->held = true;
    if (!s.ok()) {
      c_.edits.release(job->seq, job->intent);
      return end(job, s);
    }
    crash_point("tree-held");
    copy_all(job);
  });
  if (Status s = c_.edits.hold(intent, &job->seq, durable); !s.ok()) end(job, s);
}

// --- the copies

void TreeRename::copy_all(const JobPtr& job) {
  {
    MutexLock lock(job->mu);
    job->listing = true;
  }
  list(job);
}

void TreeRename::list(const JobPtr& job) {
  s3::ListRequest request;
  request.prefix = job->intent.key;
  request.delimiter = false;
  request.max_keys = c_.ns.options.list_max_keys;
  {
    MutexLock lock(job->mu);
    request.continuation = job->token;
  }
  c_.ns.s3.list(std::move(request), [this, job](Result<s3::ListPage> page) {
    if (page.ok()) return listed(job, std::move(*page));
    job->give_reason(page.error());
    {
      MutexLock lock(job->mu);
      job->listing = false;
    }
    check_end(job);
  });
}

void TreeRename::listed(const JobPtr& job, s3::ListPage page) {
  bool on = false;
  {
    MutexLock lock(job->mu);
    for (s3::ListedObject& object : page.objects) {
      if (!object.key.starts_with(job->intent.key)) continue;
      Item item;
      item.tail = object.key.substr(job->intent.key.size());
      item.size = object.size;
      item.etag = std::move(object.etag);
      item.last_modified = object.last_modified;
      job->items.push_back(std::move(item));
    }
    const bool circle = page.truncated && (page.next_token.empty() || page.next_token == job->token);
    if (circle) job->error = Error{Code::kCorrupt, "the listing of " + job->intent.key + " does not get on"};
    job->token = page.next_token;
    job->listing = page.truncated && !job->error;
    // One page ahead of the copies is enough.
    on = job->listing && job->items.size() - job->next < kAhead;
    job->paused = job->listing && !on;
  }
  if (on) list(job);
  pump(job);
  check_end(job);
}

void TreeRename::pump(const JobPtr& job) {
  for (;;) {
    size_t index = 0;
    bool resume = false;
    {
      MutexLock lock(job->mu);
      resume = job->paused && job->items.size() - job->next < kAhead / 2;
      if (resume) job->paused = false;
      if (!resume) {
        if (job->error || job->next == job->items.size() || job->under_way >= kLanes) return;
        index = job->next++;
        job->under_way++;
      }
    }
    if (resume) {
      list(job);
    } else {
      copy(job, index);
    }
  }
}

void TreeRename::copy(const JobPtr& job, size_t index) {
  ObjectCopier::Copy copy;
  uint64_t ino = 0;
  {
    MutexLock lock(job->mu);
    const Item& item = job->items[index];
    const auto there = job->there.find(item.tail);
    if (there != job->there.end() && there->second.size == item.size && there->second.etag == item.etag) {
      job->items[index].copied = true;
      job->items[index].new_etag = there->second.etag;
      job->items[index].new_modified = there->second.last_modified;
      job->under_way--;
      return;
    }
    copy.source_key = job->intent.key + item.tail;
    copy.key = job->intent.new_key + item.tail;
    copy.etag = item.etag;
    copy.size = item.size;
  }
  if (copy.key.size() > 1024) {
    return copied(job, index, Error{Code::kNameTooLong, copy.key + " would be over 1,024 bytes"});
  }
  ino = ino_of(job, copy.source_key);
  if (ino == kRemoved) {
    MutexLock lock(job->mu);
    job->under_way--;
    return;
  }
  const Ext ext = ino == 0 ? Ext() : c_.ext_of_ino(ino);
  copy.headers = mount_headers(ext, c_.options);
  if (copy.size == 0 && copy.key.ends_with('/')) {
    // Where it has to be made anew, what is known of it saves a HEAD.
    const auto inode = c_.ns.inodes.get(ino);
    copy.replace = inode.ok() && inode->source != meta::AttrSource::kListing && inode->etag == copy.etag;
    if (copy.replace) copy.headers = c_.headers(*inode, ext, copy.key);
  }
  {
    MutexLock lock(job->mu);
    job->items[index].ino = ino;
  }
  // After a deletion of that key that was asked for before. The directory's own place is this job's.
  std::vector<uint64_t> places;
  if (copy.key != job->intent.new_key) places.push_back(InodeQueue::key_place(copy.key));
  c_.queue.run_all(std::move(places), {}, [this, job, index, copy = std::move(copy)](InodeQueue::Turn turn) {
    copier_.copy(copy, [this, job, index, turn](const Result<s3::Written>& written) mutable {
      turn.reset();
      copied(job, index, written);
    });
  });
}

void TreeRename::copied(const JobPtr& job, size_t index, const Result<s3::Written>& written) {
  bool again = false;
  crash_point("tree-copied");
  {
    MutexLock lock(job->mu);
    Item& item = job->items[index];
    if (written.ok()) {
      item.copied = true;
      item.new_etag = written->etag;
      item.new_modified = written->last_modified;
    } else if (written.is(Code::kStale) && ++item.tries < kMaxTries) {
      again = true;
    } else if (!written.is(Code::kNotFound)) {  // gone meanwhile: there is nothing to move
      item.maybe = worth_repeating(written.code());
      if (!job->error) job->error = written.error();
    }
    if (!again) job->under_way--;
  }
  if (again) return ask_again(job, index);
  pump(job);
  check_end(job);
}

// Somebody replaced it since it was listed.
void TreeRename::ask_again(const JobPtr& job, size_t index) {
  std::string key;
  {
    MutexLock lock(job->mu);
    key = job->intent.key + job->items[index].tail;
  }
  c_.ns.s3.head(key, s3::Priority::kForeground, [this, job, index](const Result<s3::ObjectInfo>& info) {
    if (!info.ok()) return copied(job, index, info.error());
    {
      MutexLock lock(job->mu);
      job->items[index].etag = info->etag;
      job->items[index].size = info->size;
      job->items[index].last_modified = info->last_modified;
    }
    copy(job, index);
  });
}

void TreeRename::check_end(const JobPtr& job) {
  bool failed = false;
  {
    MutexLock lock(job->mu);
    if (job->listing && job->error && job->paused) job->listing = job->paused = false;
    if (job->listing || job->under_way > 0 || job->ended) return;
    if (!job->error && job->next < job->items.size()) return;
    job->ended = true;
    failed = job->error.has_value();
  }
  if (failed) return give_up(job);
  make_marker(job);
}

// A directory that has no object, and nothing below it either, or one in an old form.
void TreeRename::make_marker(const JobPtr& job) {
  bool any = false;
  {
    MutexLock lock(job->mu);
    any = !job->items.empty();
  }
  const bool old_form = job->inode.implicit_dir && job->inode.source == meta::AttrSource::kHead;
  if (any && !old_form) return move(job);
  s3::PutRequest request;
  request.key = job->intent.new_key;
  request.headers = c_.headers(job->inode, c_.ext_of_ino(job->intent.ino), request.key);
  if (!old_form && job->inode.implicit_dir)
    request.headers.resize(1);  // no attributes, as before: the type only
  c_.ns.s3.put(std::move(request), [this, job](const Result<s3::Written>& written) {
    if (!written.ok()) {
      job->give_reason(written.error());
      return give_up(job);
    }
    {
      MutexLock lock(job->mu);
      Item item;
      item.copied = item.made = true;
      item.new_etag = written->etag;
      job->items.push_back(std::move(item));
    }
    move(job);
  });
}

// The record of a key below the source, 0: there is none. kRemoved: this mount has removed the name, or moved
// it away, and only the deletion is to come.
uint64_t TreeRename::ino_of(const JobPtr& job, const std::string& key) {
  const auto named = [this](const std::string& dirent_key) -> uint64_t {
    const auto dirent = load_record<meta::Dirent>(c_.ns.store(), Table::kDirent, dirent_key);
    if (!dirent.ok() || !*dirent) return 0;
    return (*dirent)->ino == 0 && (*dirent)->checked_at_ns == kPinned ? kRemoved : (*dirent)->ino;
  };
  const std::string tail = key.substr(job->intent.key.size());
  uint64_t dir = job->intent.ino;
  if (tail.empty()) return dir;
  size_t from = 0;
  MutexLock lock(job->dirs_mu);
  for (size_t slash; (slash = tail.find('/', from)) != std::string::npos; from = slash + 1) {
    const std::string path = tail.substr(0, slash + 1);
    const auto [it, first] = job->dirs.try_emplace(path, 0);
    if (first) it->second = named(be64(dir) + tail.substr(from, slash + 1 - from));
    dir = it->second;
    if (dir == 0 || dir == kRemoved) return dir;
  }
  return from == tail.size() ? dir : named(be64(dir) + tail.substr(from));
}

void TreeRename::end(const JobPtr& job, const Status& status) {
  if (job->gate != 0) c_.queue.open_gate(std::exchange(job->gate, 0));
  job->turn.reset();
  job->answer(status);
  c_.ledger.end(job->change);
}

}  // namespace s3cache::core
