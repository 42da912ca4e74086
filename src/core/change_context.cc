#include "core/change_context.h"

#include <algorithm>
#include <utility>

#include "core/namespace_names.h"

namespace s3cache::core {

using meta::Inode;
using meta::Table;

uint64_t Ledger::begin() {
  MutexLock lock(mu_);
  under_way_.insert(++last_);
  return last_;
}

void Ledger::end(uint64_t change) {
  std::vector<std::function<void()>> done;
  {
    MutexLock lock(mu_);
    under_way_.erase(change);
    troubles_.erase(change);
    const uint64_t oldest = under_way_.empty() ? UINT64_MAX : *under_way_.begin();
    while (!waiting_.empty() && waiting_.begin()->first < oldest) {
      done.push_back(std::move(waiting_.begin()->second));
      waiting_.erase(waiting_.begin());
    }
  }
  for (const auto& call : done) call();
}

void Ledger::when_settled(std::function<void()> done) {
  {
    MutexLock lock(mu_);
    if (!under_way_.empty()) {
      waiting_.emplace(last_, std::move(done));
      return;
    }
  }
  done();
}

void Ledger::failed(uint64_t change, Trouble trouble) {
  MutexLock lock(mu_);
  if (under_way_.contains(change)) troubles_[change] = std::move(trouble);
}

void Ledger::report(Stats& stats) {
  MutexLock lock(mu_);
  stats.changes += under_way_.size();
  for (const auto& [change, trouble] : troubles_) take_later(stats.trouble, trouble);
}

meta::MetaStore::Durable Outstanding::wrap(meta::MetaStore::Durable job) {
  {
    MutexLock lock(mu_);
    count_++;
  }
  const auto token = std::shared_ptr<void>(this, [this](void*) {
    MutexLock lock(mu_);
    if (--count_ == 0) none_.notify_all();
  });
  return [token, job = std::move(job)](const Status& status) { job(status); };
}

void Outstanding::wait() {
  MutexLock lock(mu_);
  while (count_ > 0) none_.wait(mu_);
}

void ChangeContext::stop() {
  delayed.stop();
  (void)ns.store().flush();
  outstanding.wait();
}

void ChangeContext::locate(uint64_t parent, const std::string& name, Callback<Place> done) {
  names.locate(parent, name, [this, done = std::move(done)](const Result<LookupReply>& reply) {
    if (!reply.ok()) return done(reply.error());
    Place place;
    if (!reply->found) return done(place);
    auto inode = ns.inodes.get(reply->entry.attr.ino);
    if (inode.is(Code::kNotFound)) return done(place);
    if (!inode.ok()) return done(inode.error());
    place.found = true;
    place.ino = reply->entry.attr.ino;
    place.inode = std::move(*inode);
    done(place);
  });
}

Result<std::string> ChangeContext::key_for(uint64_t parent, const std::string& name, bool is_dir) {
  if (name.size() > kMaxName) return Error{Code::kNameTooLong, "a name of over 255 bytes"};
  if (!nameable(name)) return Error{Code::kInvalid, "\"" + name + "\" is no name for a file"};
  const auto directory = ns.inodes.get(parent);
  if (!directory.ok()) return Error{Code::kStale, directory.error().message};
  if (directory->kind != meta::Kind::kDirectory) return Error{Code::kNotDirectory, directory->name};
  if ((directory->flags & meta::kUnlinked) != 0)
    return Error{Code::kNotFound, directory->name + " was removed"};
  auto key = ns.inodes.child_key(parent, name);
  if (!key.ok()) return Error{Code::kStale, key.error().message};
  if (is_dir) *key += '/';
  if (key->size() > kMaxKey) return Error{Code::kNameTooLong, "a key of over 1,024 bytes"};
  return key;
}

Entry ChangeContext::entry(uint64_t ino, const Inode& inode) const {
  Entry out = entry_of(ino, inode, ns.options);
  out.ttl_ms = ns.options.ttl_ms;
  return out;
}

Result<Entry> ChangeContext::entry(uint64_t ino) const {
  const auto inode = ns.inodes.get(ino);
  return inode.ok() ? Result<Entry>(entry(ino, *inode)) : Result<Entry>(inode.error());
}

meta::Ext ChangeContext::ext_of_ino(uint64_t ino) {
  auto ext = load_record<meta::Ext>(ns.store(), Table::kExt, meta::id_key(ino));
  return ext.ok() && *ext ? std::move(**ext) : meta::Ext();
}

void ChangeContext::try_later(uint64_t change, const std::string& key, const Error& why, int tries,
                              std::function<void()> job) {
  ledger.failed(change, {key, why, ns.now()});
  delayed.after(back_off_ms(tries), std::move(job));
}

bool worth_repeating(Code code) {
  switch (code) {
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kIo:
    case Code::kCorrupt:
    case Code::kNoMemory:
    case Code::kBusy:
      return true;
    default:
      return false;
  }
}

int64_t back_off_ms(int tries) { return std::min<int64_t>(int64_t{500} << std::min(tries, 7), 60'000); }

}  // namespace s3cache::core
