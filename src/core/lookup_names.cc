#include "core/lookup_names.h"

#include <algorithm>
#include <utility>

#include "core/namespace_names.h"

namespace s3cache::core {

using meta::Inode;
using meta::Kind;
using s3::ListPage;

namespace {
constexpr int kSiblings = 16;  // keys between a name and the directory of that name, as a rule
}  // namespace

void NameResolver::resolve(uint64_t parent, std::string_view name, How how, Callback<Resolved> done) {
  FlightPtr flight;
  {
    MutexLock lock(mu_);
    FlightPtr& slot = flights_[{parent, std::string(name)}];
    if (slot) {
      if (how == How::kJoin) {
        slot->waiters.push_back(std::move(done));
      } else {
        slot->after.push_back(std::move(done));
        slot->after_cold |= how == How::kCold;
      }
      return;
    }
    slot = std::make_shared<Flight>();
    slot->parent = parent;
    slot->name = std::string(name);
    slot->cold = how == How::kCold;
    slot->waiters.push_back(std::move(done));
    flight = slot;
  }
  start(flight);
}

void NameResolver::start(const FlightPtr& flight) {
  auto key = c_.inodes.child_key(flight->parent, flight->name);
  if (!key.ok()) return finish(flight, Error{Code::kStale, key.error().message});
  flight->key = std::move(*key);
  if (flight->cold) return ask_cold(flight);
  auto state = records_.load(flight->parent, flight->name);
  if (!state.ok()) return finish(flight, state.error());
  if (state->has_file() && !state->is_marker() && c_.options.attr == AttrMode::kHead) {
    return ask_file(flight, *state);
  }
  if (state->has_dir() && !state->has_file()) return ask_dir(flight, state->dir->ino);
  ask_cold(flight);
}

void NameResolver::ask_file(const FlightPtr& flight, const NameState& state) {
  const uint64_t ino = state.file->ino;
  heads_.ask(ino, *state.file_inode, HeadPool::How::kRevalidate, s3::Priority::kForeground,
             [this, flight, ino](Result<Inode> inode) {
               if (inode.is(Code::kNotFound)) return ask_cold(flight);
               if (!inode.ok()) return finish(flight, inode.error());
               if (inode->kind == Kind::kDirectory) return finish(flight, records_.directory_of_marker(ino));
               auto now = records_.load(flight->parent, flight->name);
               finish(flight, now.ok() ? Result<Resolved>(DirRecords::pick(*now)) : now.error());
             });
}

void NameResolver::ask_dir(const FlightPtr& flight, uint64_t ino) {
  if (c_.unordered) return ask_dir_alone(flight, ino);
  // The file that may have come beside it is the first key, the directory's own object follows soon: before
  // it sort only siblings like "name-x" and "name.x".
  s3::ListRequest request;
  request.prefix = flight->key;
  request.delimiter = false;
  request.max_keys = kSiblings;
  const int64_t asked_at = c_.now();
  c_.s3.list(std::move(request), [this, flight, ino, asked_at](Result<ListPage> page) {
    if (!page.ok()) return finish(flight, page.error());
    const std::string directory = flight->key + '/';
    bool there = false;
    const s3::ListedObject* marker = nullptr;
    for (const auto& object : page->objects) {
      if (object.key == flight->key) return ask_cold(flight);
      there |= object.key.starts_with(directory);
      if (object.key == directory) marker = &object;
    }
    if (there) return confirm_dir(flight, ino, marker, asked_at);
    const bool beyond = !page->objects.empty() && page->objects.back().key > directory;
    return page->truncated && !beyond ? ask_dir_alone(flight, ino) : ask_cold(flight);
  });
}

void NameResolver::ask_dir_alone(const FlightPtr& flight, uint64_t ino) {
  s3::ListRequest request;
  request.prefix = flight->key + '/';
  request.delimiter = false;
  request.max_keys = 2;
  const int64_t asked_at = c_.now();
  c_.s3.list(std::move(request), [this, flight, ino, asked_at](Result<ListPage> page) {
    if (!page.ok()) return finish(flight, page.error());
    if (page->objects.empty() && page->prefixes.empty()) return ask_cold(flight);
    const s3::ListedObject* marker = nullptr;
    for (const auto& object : page->objects) {
      if (object.key == flight->key + '/') marker = &object;
    }
    // A server that lists out of order may have its marker anywhere: nothing is said about it then.
    const bool silent = marker == nullptr && c_.unordered && page->truncated;
    confirm_dir(flight, ino, marker, asked_at, silent);
  });
}

void NameResolver::confirm_dir(const FlightPtr& flight, uint64_t ino, const s3::ListedObject* marker,
                               int64_t asked_at_ns, bool silent) {
  const auto updated = records_.update(ino, asked_at_ns, nullptr, [&](Inode& inode, bool) {
    return silent ? Change::kNone : apply_marker(inode, marker);
  });
  if (updated.is(Code::kNotFound)) return ask_cold(flight);  // forgotten meanwhile
  if (!updated.ok()) return finish(flight, updated.error());
  auto now = records_.load(flight->parent, flight->name);
  finish(flight, now.ok() ? Result<Resolved>(DirRecords::pick(*now)) : now.error());
}

void NameResolver::ask_cold(const FlightPtr& flight) {
  s3::ListRequest request;
  request.prefix = flight->key;
  request.max_keys = c_.options.list_max_keys;
  const int64_t asked_at = c_.now();
  c_.s3.list(std::move(request), [this, flight, asked_at](Result<ListPage> page) {
    if (!page.ok()) return finish(flight, page.error());
    on_cold_page(flight, asked_at, std::move(*page));
  });
}

void NameResolver::on_cold_page(const FlightPtr& flight, int64_t asked_at_ns, ListPage page) {
  const std::string directory = flight->key + '/';
  const std::string folder = flight->key + std::string(kFolderSuffix);
  ServerWord word;
  std::string last;
  bool is_dir = false;
  for (const auto& object : page.objects) {
    last = std::max(last, object.key);
    is_dir |= object.key.starts_with(directory) || (c_.options.compat_dir && object.key == folder);
    if (object.key == flight->key) word.file = object;
  }
  for (const auto& prefix : page.prefixes) {
    last = std::max(last, prefix);
    is_dir |= prefix == directory;
  }
  if (is_dir) {
    word.dir = ServerWord::Directory::kPresent;
    return settle(flight, word, asked_at_ns);
  }
  const bool unordered = c_.unordered && page.truncated;
  if (unordered && !word.file) return ask_unlisted_file(flight, std::move(word), asked_at_ns);
  if (page.truncated && (unordered || last < directory)) {
    // Where the file is there it wins, and the directory beside it is nobody's question.
    if (word.file) return settle(flight, word, asked_at_ns);
    return ask_prefix(flight, directory, false, std::move(word), asked_at_ns);
  }
  if (page.truncated && c_.options.compat_dir && !word.file && last < folder) {
    return ask_prefix(flight, folder, true, std::move(word), asked_at_ns);
  }
  word.dir = ServerWord::Directory::kAbsent;
  settle(flight, word, asked_at_ns);
}

void NameResolver::ask_prefix(const FlightPtr& flight, const std::string& prefix, bool folder,
                              ServerWord word, int64_t asked_at_ns) {
  s3::ListRequest request;
  request.prefix = prefix;
  request.max_keys = 1;
  c_.s3.list(std::move(request), [=, this, word = std::move(word)](Result<ListPage> page) mutable {
    if (!page.ok()) return finish(flight, page.error());
    bool there = !page->objects.empty() || !page->prefixes.empty();
    if (folder) there = !page->objects.empty() && page->objects.front().key == prefix;
    if (!there && !folder && c_.options.compat_dir) {
      return ask_prefix(flight, flight->key + std::string(kFolderSuffix), true, std::move(word), asked_at_ns);
    }
    word.dir = there ? ServerWord::Directory::kPresent : ServerWord::Directory::kAbsent;
    settle(flight, word, asked_at_ns);
  });
}

void NameResolver::ask_unlisted_file(const FlightPtr& flight, ServerWord word, int64_t asked_at_ns) {
  c_.heads++;
  c_.s3.head(flight->key, s3::Priority::kForeground, [=, this](Result<s3::ObjectInfo> info) mutable {
    if (info.ok()) {
      word.file = s3::ListedObject{flight->key, info->size, info->etag, info->last_modified};
      return settle(flight, word, asked_at_ns);
    }
    if (!info.is(Code::kNotFound)) return finish(flight, info.error());
    ask_prefix(flight, flight->key + '/', false, std::move(word), asked_at_ns);
  });
}

void NameResolver::settle(const FlightPtr& flight, const ServerWord& word, int64_t asked_at_ns) {
  // A directory above was renamed meanwhile: the answer is about another place.
  const auto key = c_.inodes.child_key(flight->parent, flight->name);
  if (key.ok() && *key != flight->key) return start(flight);
  finish(flight, records_.settle(flight->parent, flight->name, word, asked_at_ns));
}

void NameResolver::finish(const FlightPtr& flight, const Result<Resolved>& result) {
  std::vector<Callback<Resolved>> waiters;
  FlightPtr next;
  {
    MutexLock lock(mu_);
    waiters = std::move(flight->waiters);
    const auto it = flights_.find({flight->parent, flight->name});
    if (flight->after.empty()) {
      flights_.erase(it);
    } else {
      next = std::make_shared<Flight>();
      next->parent = flight->parent;
      next->name = flight->name;
      next->cold = flight->after_cold;
      next->waiters = std::move(flight->after);
      it->second = next;
    }
  }
  for (const auto& waiter : waiters) waiter(result);
  if (next) start(next);
}

}  // namespace s3cache::core
