#include "core/listing_merge.h"

#include "base/bytes.h"
#include "base/log.h"

namespace s3cache::core {

using meta::Batch;
using meta::Dirent;
using meta::Inode;
using meta::Table;

struct ListingMerge::Work {
  int64_t asked_at_ns;
  bool last;
  std::string until;  // the range's end, inclusive; without meaning if last
  Batch batch;
  Notices notices;
  Outcome out;
};

Result<ListingMerge::Outcome> ListingMerge::page(const SplitPage& page, int64_t asked_at_ns, bool last) {
  Work work{asked_at_ns, last, {}, {}, {}, {}};
  std::vector<const ListedName*> in_order, late;
  for (const ListedName& name : page.names) {
    const bool behind = unordered_ || (!frontier_.empty() && name.key <= frontier_);
    (behind ? late : in_order).push_back(&name);
  }
  // "x_$folder$" sorts behind "x/" although it stands for it, which is no disorder of the server.
  const bool disorder = !unordered_ && !late.empty() && !c_.options.compat_dir;
  if (disorder) {
    note_unordered();
    late.insert(late.end(), in_order.begin(), in_order.end());
    in_order.clear();
  }
  if (!in_order.empty()) work.until = in_order.back()->key;
  {
    MutexLock lock(c_.dir_lock(dir_));
    auto known = load_record<meta::Dir>(c_.store(), Table::kDir, meta::id_key(dir_));
    if (!known.ok()) return known.error();
    const bool overtaken = *known && (*known)->complete && (*known)->listed_at_ns > asked_at_ns;
    if (superseded_ || overtaken) return Error{Code::kCancelled, "a younger listing took over"};
    if (!unordered_) {
      if (Status s = merge_range(in_order, work); !s.ok()) return s.error();
    }
    for (const ListedName* name : late) {
      if (Status s = insert_singly(*name, work); !s.ok()) return s.error();
    }
    if (last && unordered_) {
      if (Status s = sweep_unseen(work); !s.ok()) return s.error();
    }
    if (!work.batch.empty()) c_.store().apply(std::move(work.batch));
    if (last || (gone_.size() > kMaxGone && !unordered_)) {
      remove_gone(work.notices);
      work.out.gone_removed = true;
    }
    // Names went while it was listed (ColdNames), maybe some that had been compared already.
    const bool thinned = *known && !(*known)->complete && (*known)->listed_at_ns >= started_at_ns_;
    if (last && !thinned) {
      meta::Dir dir;
      const bool younger_known = *known && (*known)->complete && (*known)->listed_at_ns > started_at_ns_;
      dir.listed_at_ns = younger_known ? (*known)->listed_at_ns : started_at_ns_;
      dir.complete = true;
      Batch batch;
      batch.put(Table::kDir, meta::id_key(dir_), dir.encode());
      c_.store().apply(std::move(batch));
    }
  }
  work.notices.send(c_.listener);
  if (!unordered_ && !in_order.empty()) frontier_ = work.until;
  return std::move(work.out);
}

void ListingMerge::note_unordered() {
  unordered_ = true;
  if (!c_.unordered.exchange(true)) {
    Batch batch;
    batch.put(Table::kState, std::string(kUnorderedKey), "");
    c_.store().apply(std::move(batch));
    log::warn("the server does not list in the order of keys: listings are shown when they are complete");
  }
}

Result<std::vector<ListingMerge::Existing>> ListingMerge::read_chunk(const std::string& behind) {
  std::vector<Existing> out;
  const std::string prefix = be64(dir_);
  std::string from = prefix;
  if (!behind.empty()) from += behind + '\0';
  const auto gather = [&](std::string_view key, std::string_view value) {
    out.push_back({std::string(key.substr(prefix.size())), Dirent::decode(value).value_or(Dirent())});
    return true;
  };
  const Status s = c_.store().scan(Table::kDirent, from, prefix, kChunk, gather);
  if (!s.ok()) return s.error();
  return out;
}

template <class Visit>
Status ListingMerge::each_behind_frontier(const Visit& visit) {
  std::string behind = frontier_;
  for (bool more = true; more;) {
    const auto chunk = read_chunk(behind);
    if (!chunk.ok()) return chunk.error();
    more = chunk->size() == kChunk;
    if (more) behind = chunk->back().tail;
    for (const Existing& existing : *chunk) {
      const Result<bool> on = visit(existing);
      if (!on.ok()) return on.error();
      if (!*on) return {};
    }
  }
  return {};
}

Status ListingMerge::merge_range(const std::vector<const ListedName*>& names, Work& work) {
  if (names.empty() && !work.last) return {};
  size_t i = 0;
  const auto meet = [&](const Existing& existing) -> Result<bool> {
    if (!work.last && existing.tail > work.until) return false;
    for (; i < names.size() && names[i]->key < existing.tail; i++) {
      if (Status s = add(*names[i], work); !s.ok()) return s.error();
    }
    if (i < names.size() && names[i]->key == existing.tail) {
      if (Status s = compare(*names[i++], existing.dirent, work); !s.ok()) return s.error();
    } else {
      vanish(existing, work);
    }
    return true;
  };
  if (Status s = each_behind_frontier(meet); !s.ok()) return s;
  for (; i < names.size(); i++) {
    if (Status s = add(*names[i], work); !s.ok()) return s;
  }
  return {};
}

Status ListingMerge::add(const ListedName& name, Work& work) {
  auto id = c_.store().next_id();
  if (!id.ok()) return id.error();
  const Inode inode =
      name.directory() ? new_directory(dir_, name.name()) : new_file(dir_, name.name(), name.object);
  Dirent dirent;
  dirent.ino = *id;
  dirent.checked_at_ns = work.asked_at_ns;
  work.batch.put(Table::kInode, meta::id_key(*id), inode.encode());
  work.batch.put(Table::kDirent, be64(dir_) + name.key, dirent.encode());
  if (unordered_) seen_.insert(*id);
  return {};
}

Status ListingMerge::compare(const ListedName& name, const Dirent& dirent, Work& work) {
  if (unordered_ && dirent.ino != 0) seen_.insert(dirent.ino);
  if (dirent.checked_at_ns > work.asked_at_ns) return {};
  if (dirent.ino == 0) return add(name, work);
  auto inode = load_record<Inode>(c_.store(), Table::kInode, meta::id_key(dirent.ino));
  if (!inode.ok()) return inode.error();
  if (!*inode) return add(name, work);
  if (!name.directory()) {
    Inode changed = **inode;
    const Change change = apply_listed(changed, name.object);
    if (changed.kind == meta::Kind::kDirectory) marker_names_.insert(std::string(name.name()));
    if (change != Change::kNone) {
      const auto listed = [&](Inode& i, bool) { return apply_listed(i, name.object); };
      const auto updated =
          records_.update_locked(dirent.ino, work.asked_at_ns, nullptr, listed, work.notices);
      return updated.ok() ? Status() : Status(updated.error());
    }
  }
  if (dirent.checked_at_ns < 0) {
    Dirent checked = dirent;
    checked.checked_at_ns = work.asked_at_ns;
    work.batch.put(Table::kDirent, be64(dir_) + name.key, checked.encode());
  }
  return {};
}

void ListingMerge::vanish(const Existing& existing, Work& work) {
  if (existing.dirent.checked_at_ns > work.asked_at_ns) return;
  if (existing.dirent.ino == 0) {
    // Once the directory is complete an absent name needs no record.
    work.batch.erase(Table::kDirent, be64(dir_) + existing.tail);
    return;
  }
  if (existing.tail.back() == '/') {
    if (marker_names_.contains(existing.tail.substr(0, existing.tail.size() - 1))) return;
    // What is on its way into it makes it exist there too.
    if (c_.inodes.pins().below(existing.dirent.ino)) return;
  }
  gone_[existing.tail] = work.asked_at_ns;
  work.out.gone.push_back(existing.tail);
}

Status ListingMerge::insert_singly(const ListedName& name, Work& work) {
  auto dirent = load_record<Dirent>(c_.store(), Table::kDirent, be64(dir_) + name.key);
  if (!dirent.ok()) return dirent.error();
  const bool was_gone = gone_.erase(name.key) != 0;
  const bool there = *dirent && (*dirent)->ino != 0 && !was_gone;
  if (!there && !frontier_.empty() && name.key <= frontier_) work.out.late.push_back(name.key);
  return *dirent ? compare(name, **dirent, work) : add(name, work);
}

Status ListingMerge::sweep_unseen(Work& work) {
  return each_behind_frontier([&](const Existing& existing) -> Result<bool> {
    if (!seen_.contains(existing.dirent.ino)) vanish(existing, work);
    return true;
  });
}

void ListingMerge::remove_gone(Notices& notices) {
  for (const auto& [tail, asked_at_ns] : gone_) records_.remove_locked(dir_, tail, asked_at_ns, notices);
  gone_.clear();
}

}  // namespace s3cache::core
