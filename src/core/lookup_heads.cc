#include "core/lookup_heads.h"

#include <utility>

#include "base/bytes.h"

namespace s3cache::core {

using meta::Inode;
using meta::Kind;
using meta::Table;
using s3::Priority;

void HeadPool::ask(uint64_t ino, const Inode& inode, How how, Priority priority, Callback<Inode> done) {
  {
    MutexLock lock(mu_);
    auto [it, first] = flights_.try_emplace(ino);
    Flight& flight = it->second;
    flight.waiters.push_back(std::move(done));
    if (!first) {
      const s3::RequestId request = flight.request;
      const bool promote = priority == Priority::kForeground && std::exchange(flight.background, false);
      lock.unlock();
      if (promote && request != 0) c_.s3.promote(request);
      return;
    }
    flight.background = priority == Priority::kBackground;
  }
  if (how != How::kRevalidate && inode.source == meta::AttrSource::kListing) {
    // An answer is written before its flight ends, so from here on it is either seen or this flight is the
    // next.
    auto now = c_.inodes.get(ino);
    if (now.ok() && !needs_head(*now, c_.options.attr, false)) return complete(ino, now);
  }
  auto key = c_.inodes.key_of(ino);
  if (!key.ok()) return complete(ino, Error{Code::kStale, key.error().message});
  // s3fs keeps the attributes of a bucket's root in an object with the key "/".
  if (key->empty()) key->assign(1, '/');
  const Question question{ino, *key, priority, 0};
  const bool probe = how == How::kProbe && c_.prober != nullptr && inode.kind != Kind::kDirectory &&
                     inode.size <= c_.options.small_file;
  if (probe) {
    const int64_t asked_at = c_.now();
    auto on_headers = [this, question, asked_at](Result<s3::ObjectInfo> info) {
      answer(question, asked_at, std::move(info));
    };
    c_.probes++;
    if (c_.prober->probe(ino, *key, inode, std::move(on_headers))) return;
    c_.probes--;
  }
  send_head(question);
}

void HeadPool::send_head(const Question& question) {
  const int64_t asked_at = c_.now();
  c_.heads++;
  const s3::RequestId request =
      c_.s3.head(question.key, question.priority, [this, question, asked_at](Result<s3::ObjectInfo> info) {
        answer(question, asked_at, std::move(info));
      });
  bool promote = false;
  {
    MutexLock lock(mu_);
    const auto it = flights_.find(question.ino);
    if (it == flights_.end()) return;
    it->second.request = request;
    // Somebody may have come to wait before the id was known.
    promote = question.priority == Priority::kBackground && !it->second.background;
  }
  if (promote) c_.s3.promote(request);
}

std::string HeadPool::current_key(const Question& question) {
  auto key = c_.inodes.key_of(question.ino);
  if (!key.ok()) return question.key;
  // s3fs keeps the attributes of a bucket's root in an object with the key "/".
  return key->empty() ? "/" : std::move(*key);
}

void HeadPool::answer(const Question& question, int64_t asked_at_ns, Result<s3::ObjectInfo> info) {
  bool overtaken = false;
  Result<Inode> result = Error{Code::kIo, ""};
  if (info.is(Code::kNotFound) && question.tries < kMaxRetries && current_key(question) != question.key) {
    overtaken = true;  // renamed meanwhile
  } else if (info.ok()) {
    const meta::Ext ext = ext_of(*info);
    result = records_.update(question.ino, asked_at_ns, &ext, [&](Inode& inode, bool late) {
      Inode copy = inode;
      const Change change = apply_head(copy, *info, question.key, c_.options);
      overtaken = late && change != Change::kNone && question.tries < kMaxRetries;
      if (overtaken) return Change::kNone;
      inode = std::move(copy);
      return change;
    });
  } else if (info.is(Code::kNotFound) && question.key.back() == '/') {
    result = records_.update(question.ino, asked_at_ns, nullptr,
                             [](Inode& inode, bool) { return apply_marker(inode, nullptr); });
  } else if (info.is(Code::kAccessDenied) || info.is(Code::kInvalid)) {
    result = records_.update(question.ino, asked_at_ns, nullptr, [](Inode& inode, bool) {
      apply_refused(inode);
      return Change::kAttributes;
    });
  } else {
    result = info.error();
  }
  if (overtaken) {
    return send_head({question.ino, current_key(question), question.priority, question.tries + 1});
  }
  complete(question.ino, result);
}

void HeadPool::complete(uint64_t ino, const Result<Inode>& result) {
  std::vector<Callback<Inode>> waiters;
  {
    MutexLock lock(mu_);
    const auto it = flights_.find(ino);
    if (it == flights_.end()) return;
    waiters = std::move(it->second.waiters);
    flights_.erase(it);
  }
  for (const auto& waiter : waiters) waiter(result);
}

void HeadPool::sweep(uint64_t dir, std::string_view behind) {
  {
    MutexLock lock(mu_);
    auto& slot = sweeps_[dir];
    if (!slot) {
      slot = std::make_shared<Sweep>();
      slot->dir = dir;
      slot->origin = slot->position = std::string(behind) + '\0';
    }
  }
  pump();
}

void HeadPool::grant(uint64_t dir) {
  {
    MutexLock lock(mu_);
    const auto it = sweeps_.find(dir);
    if (it == sweeps_.end()) return;
    it->second->credit = std::min(it->second->credit + kCreditPerLookup, kMaxCredit);
  }
  pump();
}

void HeadPool::stop(uint64_t dir) {
  MutexLock lock(mu_);
  sweeps_.erase(dir);
}

void HeadPool::pump() {
  MutexLock lock(mu_);
  pump_again_ = true;
  if (pumping_) return;
  pumping_ = true;
  while (std::exchange(pump_again_, false)) {
    for (auto it = sweeps_.begin(); it != sweeps_.end() && background_ < c_.options.max_parallel_heads;) {
      const std::shared_ptr<Sweep> sweep = it->second;
      if (sweep->queue.empty() && sweep->fed) {
        it = sweeps_.erase(it);
        continue;
      }
      if (sweep->credit <= 0) {
        ++it;
        continue;
      }
      pump_again_ = true;
      if (sweep->queue.empty()) {
        // `queue`, `position` and `fed` belong to the pumping thread; only the table and the credit are
        // shared.
        lock.unlock();
        feed(*sweep);
        lock.lock();
        break;
      }
      const Candidate next = std::move(sweep->queue.front());
      sweep->queue.pop_front();
      sweep->credit--;
      background_++;
      lock.unlock();
      ask(next.ino, next.inode, How::kHead, Priority::kBackground, [this](const Result<Inode>&) {
        {
          MutexLock done(mu_);
          background_--;
        }
        pump();
      });
      lock.lock();
      break;
    }
  }
  pumping_ = false;
}

void HeadPool::feed(Sweep& sweep) {
  const std::string prefix = be64(sweep.dir);
  std::vector<std::pair<std::string, uint64_t>> names;
  const auto gather = [&](std::string_view key, std::string_view value) {
    const auto dirent = meta::Dirent::decode(value);
    names.emplace_back(key.substr(prefix.size()), dirent ? dirent->ino : 0);
    return true;
  };
  const auto snapshot = c_.store().snapshot();
  if (!snapshot->scan(Table::kDirent, prefix + sweep.position, prefix, kFeedPage, gather).ok())
    sweep.fed = true;
  for (const auto& [tail, ino] : names) {
    if (sweep.wrapped && tail >= sweep.origin) {
      sweep.fed = true;
      break;
    }
    if (ino == 0) continue;
    auto inode = load_record<Inode>(*snapshot, Table::kInode, meta::id_key(ino));
    if (!inode.ok() || !*inode || !needs_head(**inode, c_.options.attr, false)) continue;
    sweep.queue.push_back({ino, std::move(**inode)});
  }
  if (names.size() == kFeedPage) {
    sweep.position = names.back().first + '\0';
  } else if (sweep.wrapped || sweep.origin.empty()) {
    sweep.fed = true;
  } else {
    sweep.wrapped = true;
    sweep.position.clear();
  }
}

}  // namespace s3cache::core
