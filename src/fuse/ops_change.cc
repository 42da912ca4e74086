// Changes of names and attributes: SETATTR, UNLINK, RMDIR, RENAME, xattrs.
//
// The kernel holds the lock of the directory meanwhile, hence park(parent). Its own dentries it changes by
// itself when the answer comes.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <ctime>

#include "fuse/errno.h"
#include "fuse/ops.h"

namespace s3cache::fuse {
namespace {

int64_t ns_of(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

int64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return ns_of(t);
}

core::SetAttr changes_of(const struct stat& attr, int to_set) {
  core::SetAttr c;
  const auto has = [to_set](int bit) { return (to_set & bit) != 0; };
  if (has(FUSE_SET_ATTR_MODE)) c.mode = attr.st_mode & 07777;
  if (has(FUSE_SET_ATTR_UID)) c.uid = attr.st_uid;
  if (has(FUSE_SET_ATTR_GID)) c.gid = attr.st_gid;
  if (has(FUSE_SET_ATTR_SIZE)) c.size = attr.st_size;
  if (has(FUSE_SET_ATTR_ATIME)) c.atime_ns = ns_of(attr.st_atim);
  if (has(FUSE_SET_ATTR_MTIME)) c.mtime_ns = ns_of(attr.st_mtim);
  if (has(FUSE_SET_ATTR_CTIME)) c.ctime_ns = ns_of(attr.st_ctim);
  const bool atime_now = has(FUSE_SET_ATTR_ATIME_NOW), mtime_now = has(FUSE_SET_ATTR_MTIME_NOW);
  if (atime_now || mtime_now) {
    const int64_t now = now_ns();
    if (atime_now) c.atime_ns = now;
    if (mtime_now) c.mtime_ns = now;
  }
  return c;
}

}  // namespace

void Ops::setattr(fuse_req_t req, fuse_ino_t nodeid, const struct stat& attr, int to_set,
                  const fuse_file_info* fi) {
  core::SetAttr what = changes_of(attr, to_set);
  const bool resize = what.size.has_value();
  // truncate(2) of a path that still leads to the nodeid of before: the writers' nodeid must be the one whose
  // size and pages the kernel changes. (Not for chmod and the like: fchmod(2) has no path to walk again.)
  if (resize && fi == nullptr && incarnations_.superseded(nodeid)) {
    fuse_reply_err(req, ESTALE);
    return;
  }
  RequestPtr r = change(req);
  fs_.setattr(incarnations_.ino_of(nodeid), fi != nullptr ? handle_of(*fi).file : nullptr, what,
              [self = shared_from_this(), r, nodeid, resize](Result<core::Entry> e) {
                if (e) {
                  if (resize) self->incarnations_.content_changed(nodeid);
                  self->incarnations_.attributes_changed(nodeid);
                }
                if (!r->claim()) {
                  if (e) self->notifier_.drop_attributes(nodeid);
                  return;
                }
                if (!e) {
                  r->reply_err(to_inode_errno(e.code()));
                  return;
                }
                const struct stat s = to_stat(e->attr);
                const double ttl = self->attr_ttl(nodeid, *e);
                r->reply([&](fuse_req_t q) { return fuse_reply_attr(q, &s, ttl); });
              });
  r->park(nodeid);
}

void Ops::unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  RequestPtr r = change(req);
  fs_.unlink(parent, name, done_with(r, to_errno, forget_name(parent, name)));
  r->park(parent);
}

void Ops::rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  RequestPtr r = change(req);
  fs_.rmdir(parent, name, done_with(r, to_errno, forget_name(parent, name)));
  r->park(parent);
}

void Ops::rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                 const char* new_name, unsigned flags) {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {  // RENAME_WHITEOUT: for overlayfs alone
    fuse_reply_err(req, EINVAL);
    return;
  }
  RequestPtr r = change(req);
  auto done = [r, flags, unseen = forget_name(parent, name),
               unseen_too = forget_name(new_parent, new_name)](Result<void> renamed) {
    if (r->claim()) {
      // rename(2) has EINVAL for flags a file system does not do; mv and others fall back on that alone.
      const bool no_flags = flags != 0 && renamed.is(Code::kUnsupported);
      r->reply_err(renamed ? 0 : no_flags ? EINVAL : to_errno(renamed.code()));
    } else if (renamed) {
      unseen();
      unseen_too();
    }
  };
  fs_.rename(parent, name, new_parent, new_name, flags, std::move(done));
  r->park(parent, new_parent != parent ? new_parent : 0);
}

void Ops::setxattr(fuse_req_t req, fuse_ino_t nodeid, const char* name, std::string value, int flags) {
  RequestPtr r = change(req);
  fs_.setxattr(incarnations_.ino_of(nodeid), name, std::move(value), flags, done_with(r, to_xattr_errno));
  r->park(nodeid);
}

void Ops::removexattr(fuse_req_t req, fuse_ino_t nodeid, const char* name) {
  RequestPtr r = change(req);
  fs_.removexattr(incarnations_.ino_of(nodeid), name, done_with(r, to_xattr_errno));
  r->park(nodeid);
}

}  // namespace s3cache::fuse
