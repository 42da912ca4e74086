// Locks of programs: GETLK, SETLK, SETLKW, FLOCK.
#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "fuse/ops.h"

namespace s3cache::fuse {
namespace {

constexpr uint64_t kEnd = INT64_MAX;  // l_len 0: to the end, however far it moves

LockType type_of(int l_type) {
  if (l_type == F_UNLCK) return LockType::kUnlock;
  return l_type == F_WRLCK ? LockType::kWrite : LockType::kRead;
}

Lock lock_of(const fuse_file_info& fi, const struct flock& f) {
  Lock l;
  l.owner = fi.lock_owner;
  l.first = static_cast<uint64_t>(f.l_start);
  l.last = f.l_len == 0 ? kEnd : static_cast<uint64_t>(f.l_start + f.l_len - 1);
  l.type = type_of(f.l_type);
  l.pid = static_cast<uint32_t>(f.l_pid);
  l.fh = fi.fh;
  return l;
}

}  // namespace

void Ops::getlk(fuse_req_t req, const fuse_file_info& fi, const struct flock& wish) {
  const Lock l = locks_.test(LockSpace::kPosix, handle_of(fi).ino, lock_of(fi, wish));
  struct flock f {};
  f.l_whence = SEEK_SET;
  f.l_type = F_UNLCK;
  if (l.type != LockType::kUnlock) {
    f.l_type = l.type == LockType::kWrite ? F_WRLCK : F_RDLCK;
    f.l_start = static_cast<off_t>(l.first);
    f.l_len = l.last >= kEnd ? 0 : static_cast<off_t>(l.last - l.first + 1);
    f.l_pid = static_cast<pid_t>(l.pid);
  }
  fuse_reply_lock(req, &f);
}

void Ops::setlk(fuse_req_t req, const fuse_file_info& fi, const struct flock& wish, bool sleep) {
  lock(req, LockSpace::kPosix, handle_of(fi).ino, lock_of(fi, wish), sleep);
}

void Ops::flock(fuse_req_t req, const fuse_file_info& fi, int op) {
  Lock l;
  l.owner = fi.lock_owner;
  l.fh = fi.fh;
  const int kind = op & ~LOCK_NB;
  l.type = kind == LOCK_UN ? LockType::kUnlock : kind == LOCK_EX ? LockType::kWrite : LockType::kRead;
  lock(req, LockSpace::kFlock, handle_of(fi).ino, l, (op & LOCK_NB) == 0);
}

void Ops::lock(fuse_req_t req, LockSpace space, uint64_t ino, const Lock& wish, bool sleep) {
  if (!sleep || wish.type == LockType::kUnlock) {
    fuse_reply_err(req, locks_.set(space, ino, wish));
    return;
  }
  RequestPtr r = request(req);  // any signal ends the wait: it changes nothing
  const uint64_t ticket =
      locks_.wait(space, ino, wish, {[r] { return r->claim(); }, [r](int err) { r->reply_err(err); }});
  if (ticket == 0) return;
  r->when_interrupted([weak = weak_from_this(), ino, ticket] {
    if (auto self = weak.lock()) self->locks_.cancel(ino, ticket);
  });
  r->park();
}

}  // namespace s3cache::fuse
