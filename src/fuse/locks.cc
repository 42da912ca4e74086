#include "fuse/locks.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace s3cache::fuse {
namespace {

bool overlap(const Lock& a, const Lock& b) { return a.first <= b.last && b.first <= a.last; }

bool exclude(const Lock& a, const Lock& b) {
  return a.owner != b.owner && overlap(a, b) && (a.type == LockType::kWrite || b.type == LockType::kWrite);
}

void run(std::vector<std::function<void()>>& answers) {
  for (auto& a : answers) a();
}

}  // namespace

const Lock* Locks::conflict(Inode& inode, LockSpace space, const Lock& wish) {
  if (wish.type == LockType::kUnlock) return nullptr;
  for (const Lock& l : held(inode, space)) {
    if (exclude(l, wish)) return &l;
  }
  return nullptr;
}

// Cuts the owner's locks out of the range, then puts the new one there, joined with equal neighbours.
void Locks::apply(std::vector<Lock>& locks, const Lock& wish) {
  std::vector<Lock> out;
  Lock added = wish;
  for (const Lock& l : locks) {
    const bool same = l.type == wish.type && l.fh == wish.fh;
    if (l.owner != wish.owner) {
      out.push_back(l);
    } else if (overlap(l, wish)) {
      Lock before = l, after = l;
      before.last = wish.first - 1;
      after.first = wish.last + 1;
      if (l.first < wish.first) same ? void(added.first = l.first) : out.push_back(before);
      if (l.last > wish.last) same ? void(added.last = l.last) : out.push_back(after);
    } else if (same && l.last < wish.first && l.last + 1 == wish.first) {
      added.first = l.first;
    } else if (same && l.first > wish.last && wish.last + 1 == l.first) {
      added.last = l.last;
    } else {
      out.push_back(l);
    }
  }
  if (wish.type != LockType::kUnlock) out.push_back(added);
  locks.swap(out);
}

Lock Locks::test(LockSpace space, uint64_t ino, const Lock& wish) {
  MutexLock lock(mu_);
  auto it = inodes_.find(ino);
  const Lock* l = it == inodes_.end() ? nullptr : conflict(it->second, space, wish);
  if (l != nullptr) return *l;
  Lock none = wish;
  none.type = LockType::kUnlock;
  return none;
}

int Locks::set(LockSpace space, uint64_t ino, const Lock& wish) {
  Answers answers;
  {
    MutexLock lock(mu_);
    auto it = inodes_.find(ino);
    if (it == inodes_.end()) {
      if (wish.type == LockType::kUnlock) return 0;
      it = inodes_.try_emplace(ino).first;
    }
    if (conflict(it->second, space, wish) != nullptr) return EAGAIN;
    apply(held(it->second, space), wish);
    changed(ino, answers);
  }
  run(answers);
  return 0;
}

uint64_t Locks::wait(LockSpace space, uint64_t ino, const Lock& wish, Waiter waiter) {
  Answers answers;
  int err = 0;
  {
    MutexLock lock(mu_);
    Inode& inode = inodes_[ino];
    if (conflict(inode, space, wish) != nullptr) {
      if (space == LockSpace::kPosix && deadlock(wish, ino)) {
        err = EDEADLK;
      } else {
        // flock: converting a lock gives up the old one first, as the kernel does.
        if (space == LockSpace::kFlock) {
          Lock old = wish;
          old.type = LockType::kUnlock;
          apply(held(inode, space), old);
        }
        const uint64_t ticket = ++last_ticket_;
        inode.waiting.push_back({ticket, space, wish, std::move(waiter)});
        if (space == LockSpace::kFlock) changed(ino, answers);
        lock.unlock();
        run(answers);
        return ticket;
      }
    } else if (waiter.claim()) {
      apply(held(inode, space), wish);
    } else {
      err = -1;  // gone already
    }
    changed(ino, answers);  // a shorter or weaker lock than before makes room
  }
  run(answers);
  if (err == EDEADLK && !waiter.claim()) err = -1;
  if (err >= 0) waiter.answer(err);
  return 0;
}

void Locks::cancel(uint64_t ino, uint64_t ticket) {
  MutexLock lock(mu_);
  auto it = inodes_.find(ino);
  if (it == inodes_.end()) return;
  it->second.waiting.remove_if([ticket](const Waiting& w) { return w.ticket == ticket; });
  if (it->second.idle()) inodes_.erase(it);
}

void Locks::release_owner(LockSpace space, uint64_t ino, uint64_t owner) {
  Lock all;
  all.owner = owner;
  all.type = LockType::kUnlock;
  set(space, ino, all);
}

void Locks::release_handle(uint64_t ino, uint64_t fh) {
  std::set<uint64_t> owners;
  {
    MutexLock lock(mu_);
    auto it = inodes_.find(ino);
    if (it == inodes_.end()) return;
    for (const Lock& l : held(it->second, LockSpace::kPosix)) {
      if (l.fh == fh) owners.insert(l.owner);
    }
  }
  for (uint64_t owner : owners) release_owner(LockSpace::kPosix, ino, owner);
}

bool Locks::empty() {
  MutexLock lock(mu_);
  return inodes_.empty();
}

// Would the owner wait for somebody who, through any number of others, waits for it?
bool Locks::deadlock(const Lock& wish, uint64_t ino) {
  std::set<uint64_t> seen;
  std::vector<uint64_t> todo;
  auto blockers = [&](Inode& inode, const Lock& w) {
    for (const Lock& l : held(inode, LockSpace::kPosix)) {
      if (exclude(l, w) && seen.insert(l.owner).second) todo.push_back(l.owner);
    }
  };
  blockers(inodes_[ino], wish);
  while (!todo.empty()) {
    const uint64_t owner = todo.back();
    todo.pop_back();
    if (owner == wish.owner) return true;
    for (auto& [other, inode] : inodes_) {
      for (const Waiting& w : inode.waiting) {
        if (w.space == LockSpace::kPosix && w.wish.owner == owner) blockers(inode, w.wish);
      }
    }
  }
  return false;
}

void Locks::wake(Inode& inode, Answers& answers) {
  for (bool given = true; given;) {  // what one gets may be less than it had: room for those before it
    given = false;
    for (auto it = inode.waiting.begin(); it != inode.waiting.end();) {
      if (conflict(inode, it->space, it->wish) != nullptr) {
        ++it;
        continue;
      }
      if (it->waiter.claim()) {
        apply(held(inode, it->space), it->wish);
        answers.emplace_back([answer = std::move(it->waiter.answer)] { answer(0); });
        given = true;
      }
      it = inode.waiting.erase(it);
    }
  }
}

void Locks::changed(uint64_t ino, Answers& answers) {
  auto it = inodes_.find(ino);
  if (it == inodes_.end()) return;
  wake(it->second, answers);
  if (it->second.idle()) inodes_.erase(it);
}

}  // namespace s3cache::fuse
