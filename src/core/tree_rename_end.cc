// The second half of TreeRename: the record moves and the old keys go, or the copies go; and what a crash
// left.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/namespace_names.h"
#include "core/tree_rename_job.h"

namespace s3cache::core {

using meta::Inode;
using meta::Intent;
using meta::Kind;

namespace {
constexpr size_t kBatch = 1000;
}  // namespace

// --- moved

// The copies' own ETag and time go into the records, so that attributes and cached pages stay good.
void TreeRename::update_children(const JobPtr& job) {
  MutexLock lock(job->mu);
  for (const Item& item : job->items) {
    if (!item.copied || item.ino == 0 || item.ino == job->intent.ino) continue;
    (void)c_.ns.inodes.update(item.ino, [&item](Inode& inode, meta::Batch&) {
      if (inode.etag != item.etag) return false;
      if (inode.kind == Kind::kFile && inode.lineage == 0 && item.new_etag != item.etag) {
        inode.lineage = version_of(inode);
      }
      inode.etag = item.new_etag;
      inode.last_modified_s = item.new_modified;
      return true;
    });
  }
}

void TreeRename::move(const JobPtr& job) {
  const Intent& intent = job->intent;
  update_children(job);
  crash_point("tree-before-move");
  const Item* marker = nullptr;
  Item copy;
  {
    MutexLock lock(job->mu);
    const auto it = std::find_if(job->items.begin(), job->items.end(),
                                 [](const Item& item) { return item.tail.empty() && item.copied; });
    if (it != job->items.end()) {
      copy = *it;
      marker = &copy;
    }
  }
  Intent rest = intent;
  rest.stage = 1;
  rest.promised = true;
  const auto edit = [&](Inode& inode) {
    if (marker == nullptr) return;
    inode.implicit_dir = false;
    inode.kind_known = true;
    inode.etag = marker->new_etag;
    inode.last_modified_s = marker->new_modified;
  };
  auto next = std::make_shared<uint64_t>(0);
  const auto durable = [this, job, rest, next](const Status& s) {
    if (!s.ok()) {
      c_.edits.lost(*next, rest);
      return end(job, s);
    }
    job->seq = *next;
    crash_point("tree-promised");
    moved(job);
  };
  const Status s = c_.edits.move(job->seq, intent, rest, edit, {}, next.get(), c_.outstanding.wrap(durable));
  if (!s.ok()) {
    job->give_reason(s.error());
    give_up(job);
  }
}

// Files that are being changed build on the copies now.
void TreeRename::tell_open_files(const JobPtr& job) {
  std::vector<Item> files;
  {
    MutexLock lock(job->mu);
    std::copy_if(job->items.begin(), job->items.end(), std::back_inserter(files),
                 [](const Item& item) { return item.copied && item.ino != 0 && !item.tail.empty(); });
  }
  for (const Item& item : files) c_.drafts.object_copied(item.ino, item.etag, item.new_etag);
}

void TreeRename::moved(const JobPtr& job) {
  c_.ns.inodes.note_tree_move(job->intent.ino, c_.ns.now());
  removals_.discard(job->target, true);
  tell_open_files(job);
  remove_source(job);
  c_.queue.open_gate(std::exchange(job->gate, 0));
  job->turn.reset();
  // As with unlink: what is left is in the journal.
  job->answer(Status());
  if (job->inode.implicit_dir) {
    const std::string bare = job->intent.key.substr(0, job->intent.key.size() - 1);
    if (job->inode.source == meta::AttrSource::kHead) removals_.drop_key(bare, job->intent.parent);
    if (c_.ns.options.compat_dir) removals_.drop_key(bare + std::string(kFolderSuffix), job->intent.parent);
  }
}

void TreeRename::remove_source(const JobPtr& job) {
  size_t batches = 0;
  {
    MutexLock lock(job->mu);
    std::erase_if(job->items, [](const Item& item) { return !item.copied || item.made; });
    batches = (job->items.size() + kBatch - 1) / kBatch;
    job->under_way = batches;
  }
  if (batches == 0) {
    MutexLock lock(job->mu);
    job->under_way = batches = 1;
  }
  for (size_t i = 0; i < batches; i++) {
    // Whoever makes one of these keys again comes after its deletion.
    std::vector<uint64_t> places{InodeQueue::key_place(job->intent.key)};
    if (batches > 1 && i > 0) places.clear();
    {
      MutexLock lock(job->mu);
      for (size_t k = i * kBatch; k < std::min((i + 1) * kBatch, job->items.size()); k++) {
        places.push_back(InodeQueue::key_place(job->intent.key + job->items[k].tail));
      }
    }
    c_.queue.run_all(std::move(places), {}, [this, job, i](InodeQueue::Turn turn) {
      remove_batch(job, i * kBatch, 0, std::move(turn));
    });
  }
}

void TreeRename::remove_batch(const JobPtr& job, size_t from, int tries, InodeQueue::Turn turn) {
  std::vector<s3::DeleteItem> keys;
  {
    MutexLock lock(job->mu);
    for (size_t i = from; i < std::min(from + kBatch, job->items.size()); i++) {
      // Only what was copied: a version that came since is somebody else's.
      keys.push_back({job->intent.key + job->items[i].tail, job->items[i].etag});
    }
  }
  const auto finished = [this, job] {
    {
      MutexLock lock(job->mu);
      if (--job->under_way > 0) return;
    }
    Intent gone = job->intent;
    gone.ino = 0;  // the directory lives on elsewhere
    c_.edits.gone(job->seq, gone, false);
    c_.ledger.end(job->change);
    removals_.keep_directories({job->intent.parent});
  };
  if (keys.empty()) return finished();
  c_.ns.s3.remove_many(std::move(keys), [this, job, from, tries, finished,
                                         turn](const Result<std::vector<s3::DeleteFailure>>& r) mutable {
    if (r.is(Code::kCancelled)) return;  // at the next mount
    crash_point("tree-source-removed");
    if (!r.ok() && worth_repeating(r.code())) {
      if (tries == 0) log::warn("the old keys of {} cannot be deleted now, trying on", job->intent.key);
      return c_.try_later(job->change, job->intent.key, r.error(), tries + 1,
                          [this, job, from, tries, turn] { remove_batch(job, from, tries + 1, turn); });
    }
    if (!r.ok()) {
      log::error("the old keys of {} cannot be deleted: {}", job->intent.key, r.error().message);
    } else {
      for (const s3::DeleteFailure& failure : *r) {
        if (failure.error.code == Code::kNotFound) continue;
        log::error("{} was copied and stays: {}", failure.key, failure.error.message);
      }
    }
    turn.reset();  // not when the client lets go of this callback: whoever waits for it sends at once
    finished();
  });
}

// --- given up

void TreeRename::give_up(const JobPtr& job) {
  const auto why = job->reason();
  if (why && why->code == Code::kCancelled)
    return job->answer(*why);  // shutting down: resumed at the next mount
  job->intent.stage = 2;
  meta::Batch batch;
  c_.journal.change(batch, job->seq, job->intent);
  c_.ns.store().apply(std::move(batch));
  take_back(job);
}

void TreeRename::take_back(const JobPtr& job) {
  std::vector<s3::DeleteItem> keys;
  {
    MutexLock lock(job->mu);
    for (const Item& item : job->items) {
      if (item.copied || item.maybe) keys.push_back({job->intent.new_key + item.tail, item.new_etag});
    }
  }
  const auto over = [this, job] {
    c_.edits.release(job->seq, job->intent);
    const auto why = job->reason();
    end(job, why ? Status(*why) : Status());
  };
  if (keys.empty()) return over();
  job->waits = (keys.size() + kBatch - 1) / kBatch;
  for (size_t from = 0; from < keys.size(); from += kBatch) {
    const auto begin = keys.begin() + static_cast<ptrdiff_t>(from);
    const auto stop = keys.begin() + static_cast<ptrdiff_t>(std::min(from + kBatch, keys.size()));
    c_.ns.s3.remove_many({begin, stop}, [job, over](const Result<std::vector<s3::DeleteFailure>>& r) {
      if (!r.ok() || !r->empty()) log::warn("copies below {} are left over", job->intent.new_key);
      if (job->waits.fetch_sub(1) == 1) over();
    });
  }
}

// --- after a crash

void TreeRename::list_all(const std::string& prefix, Callback<std::map<std::string, s3::ListedObject>> done) {
  auto all = std::make_shared<std::map<std::string, s3::ListedObject>>();
  auto next = std::make_shared<std::function<void(std::string)>>();
  *next = [this, prefix, done = std::move(done), all, next](std::string token) {
    s3::ListRequest request;
    request.prefix = prefix;
    request.delimiter = false;
    request.continuation = std::move(token);
    request.priority = s3::Priority::kBackground;
    c_.ns.s3.list(std::move(request), [prefix, done, all, next](Result<s3::ListPage> page) {
      if (page.ok()) {
        for (s3::ListedObject& object : page->objects) {
          if (object.key.starts_with(prefix))
            all->emplace(object.key.substr(prefix.size()), std::move(object));
        }
        if (page->truncated && !page->next_token.empty()) return (*next)(page->next_token);
      }
      *next = nullptr;  // it holds itself
      if (!page.ok()) return done(page.error());
      done(std::move(*all));
    });
  };
  (*next)("");
}

void TreeRename::resume(uint64_t seq, const Intent& intent) {
  auto job = std::make_shared<Job>();
  job->intent = intent;
  job->seq = seq;
  job->change = c_.ledger.begin();
  job->done = [](const Status&) {};
  const auto inode = c_.ns.inodes.get(intent.ino);
  if (!inode.ok()) {
    c_.edits.release(seq, intent);
    return c_.ledger.end(job->change);
  }
  job->inode = *inode;
  const auto state = c_.records.load(intent.new_parent, intent.new_name);
  if (state.ok() && state->has_dir() && state->dir->ino != intent.ino) job->target = state->dir->ino;
  std::vector<uint64_t> places{intent.ino, InodeQueue::key_place(intent.new_key)};
  c_.queue.run_all(std::move(places), {}, [this, job](InodeQueue::Turn turn) {
    job->turn = std::move(turn);
    list_all(job->intent.new_key, [this, job](Result<std::map<std::string, s3::ListedObject>> there) {
      if (!there.ok()) {
        job->turn.reset();
        if (there.is(Code::kCancelled)) return;
        return c_.delayed.after(back_off_ms(3), [this, job] {
          resume(job->seq, job->intent);
          c_.ledger.end(job->change);
        });
      }
      {
        MutexLock lock(job->mu);
        job->there = std::move(*there);
      }
      crash_point("replay-tree");
      if (job->intent.stage == 0) {
        job->held = true;
        c_.queue.close_gate([this, top = job->intent.ino](
                                uint64_t ino) { return ino != top && c_.ns.inodes.is_below(ino, top); },
                            [this, job](uint64_t gate) {
                              job->gate = gate;
                              copy_all(job);
                            });
        return;
      }
      list_source(job);
    });
  });
}

// Stages 1 and 2: what lies at both places, of one size and not younger than the rename, is the copy and its
// source.
void TreeRename::list_source(const JobPtr& job) {
  list_all(job->intent.key, [this, job](Result<std::map<std::string, s3::ListedObject>> source) {
    if (!source.ok()) {
      job->turn.reset();
      return;
    }
    {
      MutexLock lock(job->mu);
      for (const auto& [tail, object] : *source) {
        const auto copy = job->there.find(tail);
        if (copy == job->there.end() || copy->second.size != object.size) continue;
        // A directory's own object may have the time at which the last name below it went (versitygw).
        const bool folder = object.size == 0 && (tail.empty() || tail.back() == '/');
        if (!folder && object.last_modified > job->intent.made_at_ns / 1'000'000'000 + 1) continue;
        Item item;
        item.tail = tail;
        item.etag = object.etag;
        item.new_etag = copy->second.etag;
        item.copied = true;
        job->items.push_back(std::move(item));
      }
    }
    job->turn.reset();
    if (job->intent.stage == 1) return remove_source(job);
    take_back(job);
  });
}

}  // namespace s3cache::core
