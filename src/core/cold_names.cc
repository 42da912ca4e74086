#include "core/cold_names.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/bytes.h"
#include "core/dir_records.h"

namespace s3cache::core {

using meta::Batch;
using meta::Dirent;
using meta::Inode;
using meta::Table;

namespace {

constexpr int64_t kIdleMs = 1'000;          // between two looks at the number of names
constexpr int64_t kFruitlessMs = 600'000;   // after a round in which nothing more was found
constexpr int64_t kMostAgeMs = 86'400'000;  // where the first round begins
constexpr int64_t kShare = 5;               // a step is followed by four times as long a pause

}  // namespace

size_t ColdNames::known() const {
  const auto stats = c_.store().stats();
  return std::max(stats.entries[static_cast<size_t>(Table::kInode)],
                  stats.entries[static_cast<size_t>(Table::kDirent)]);
}

int64_t ColdNames::first_age_ms() const { return std::clamp(4 * c_.options.ttl_ms, kLeastAgeMs, kMostAgeMs); }

int64_t ColdNames::tend() {
  const int64_t limit = c_.options.max_entries;
  if (limit < 0) return kIdleMs;
  const int64_t now_ms = c_.clock.mono_ms();
  if (age_ms_ == 0) {
    if (now_ms < rest_until_ms_) return kIdleMs;
    const size_t all = known();
    if (all <= static_cast<size_t>(limit)) return kIdleMs;
    // A tenth below the limit, so that it is not work for ever.
    to_go_ = all - static_cast<size_t>(limit) + static_cast<size_t>(limit / 10);
    age_ms_ = first_age_ms();
    cursor_.clear();
  }
  const auto began = std::chrono::steady_clock::now();
  bool round_over = false;
  const size_t gone = step(c_.now() - age_ms_ * 1'000'000, &round_over);
  to_go_ -= std::min(to_go_, gone);
  if (to_go_ == 0) {
    age_ms_ = 0;
  } else if (round_over) {
    cursor_.clear();
    if (age_ms_ == kLeastAgeMs) {
      age_ms_ = 0;
      rest_until_ms_ = now_ms + kFruitlessMs;
    } else {
      age_ms_ = std::max(age_ms_ / 2, kLeastAgeMs);
    }
  }
  const auto took = std::chrono::steady_clock::now() - began;
  return 1 + (kShare - 1) * std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
}

size_t ColdNames::step(int64_t before_ns, bool* round_over) {
  std::vector<Name> names;
  const auto gather = [&names](std::string_view key, std::string_view value) {
    names.push_back({std::string(key), Dirent::decode(value).value_or(Dirent())});
    return true;
  };
  if (!c_.store().scan(Table::kDirent, cursor_, "", kStep, gather).ok()) names.clear();
  *round_over = names.size() < kStep;
  if (!names.empty()) cursor_ = names.back().key + '\0';
  size_t gone = 0;
  for (size_t i = 0; i < names.size();) {
    const uint64_t dir = read_be64(names[i].key);
    std::vector<Name> of_one;
    for (; i < names.size() && read_be64(names[i].key) == dir; i++) {
      // A pinned name is younger than anything.
      if (names[i].dirent.checked_at_ns < before_ns) of_one.push_back(std::move(names[i]));
    }
    if (!of_one.empty() && cold_directory(dir, before_ns)) gone += collect(dir, of_one, before_ns);
  }
  return gone;
}

bool ColdNames::cold_directory(uint64_t dir, int64_t before_ns) {
  if (c_.dir_use.touched_ns(dir) >= before_ns) return false;
  const auto known = load_record<meta::Dir>(c_.store(), Table::kDir, meta::id_key(dir));
  return known.ok() && !(*known && (*known)->complete && (*known)->listed_at_ns >= before_ns);
}

size_t ColdNames::collect(uint64_t dir, const std::vector<Name>& names, int64_t before_ns) {
  size_t gone = 0;
  MutexLock lock(c_.dir_lock(dir));
  c_.dir_use.unless_read(dir, [&](const DirUse::Readers& readers) {
    if (!cold_directory(dir, before_ns)) return;  // it was listed meanwhile
    meta::Dir not_complete;
    not_complete.listed_at_ns = c_.now();
    Batch batch;
    batch.put(Table::kDir, meta::id_key(dir), not_complete.encode());
    bool marked = false;
    for (const Name& name : names) {
      const auto now = load_record<Dirent>(c_.store(), Table::kDirent, name.key);
      const bool same = now.ok() && *now && (*now)->ino == name.dirent.ino &&
                        (*now)->checked_at_ns == name.dirent.checked_at_ns;
      if (!same) continue;
      if (!std::exchange(marked, true)) c_.store().apply(std::move(batch));
      gone += remove(dir, name, readers, before_ns) ? 1 : 0;
    }
  });
  return gone;
}

bool ColdNames::remove(uint64_t dir, const Name& name, const DirUse::Readers& readers, int64_t before_ns) {
  Batch batch;
  batch.erase(Table::kDirent, name.key);
  const uint64_t ino = name.dirent.ino;
  if (ino == 0) {
    c_.store().apply(std::move(batch));
    return true;
  }
  if (name.key.back() == '/') return remove_directory(dir, ino, readers, before_ns, std::move(batch));
  return c_.inodes.remove_if(
      ino, [&](const Inode& inode) { return may_go(ino, inode); }, std::move(batch));
}

// Under the directory's own lock, too, so that nothing is made in it meanwhile. Only if that lock is free:
// two are otherwise taken in their order.
bool ColdNames::remove_directory(uint64_t parent, uint64_t ino, const DirUse::Readers& readers,
                                 int64_t before_ns, Batch batch) NO_THREAD_SAFETY_ANALYSIS {
  Mutex& own = c_.dir_lock(ino);
  const bool same = &own == &c_.dir_lock(parent);
  if (!same && !own.try_lock()) return false;
  const auto idle = [&](const Inode& inode) {
    return may_go(ino, inode) && !readers.contains(ino) && cold_directory(ino, before_ns) && empty(ino);
  };
  const bool gone = c_.inodes.remove_if(ino, idle, std::move(batch));
  if (!same) own.unlock();
  return gone;
}

bool ColdNames::may_go(uint64_t ino, const Inode& inode) {
  if (inode.source == meta::AttrSource::kLocal || inode.fid != 0) return false;
  if (c_.prober != nullptr && c_.prober->holds(ino, inode)) return false;
  bool dirty = false;
  const auto any = [&dirty](std::string_view, std::string_view) {
    dirty = true;
    return false;
  };
  const std::string id = meta::id_key(ino);
  return c_.store().scan(Table::kDirty, id, id, 1, any).ok() && !dirty;
}

bool ColdNames::empty(uint64_t dir) {
  bool any = false;
  const auto first = [&any](std::string_view, std::string_view) {
    any = true;
    return false;
  };
  const std::string prefix = be64(dir);
  return c_.store().scan(Table::kDirent, prefix, prefix, 1, first).ok() && !any;
}

}  // namespace s3cache::core
