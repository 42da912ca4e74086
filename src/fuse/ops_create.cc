// New names: CREATE, MKNOD, MKDIR, SYMLINK. Names come with their attributes, so the kernel asks nothing
// more.
#include <fcntl.h>

#include <cerrno>

#include "fuse/errno.h"
#include "fuse/ops.h"

namespace s3cache::fuse {

void Ops::create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, int flags) {
  const bool exclusive = (flags & O_EXCL) != 0;
  core::Filesystem::OpenFlags how;
  how.direct = (flags & O_DIRECT) != 0;
  how.no_read = (flags & O_ACCMODE) == O_WRONLY;
  how.write = (flags & O_ACCMODE) != O_RDONLY;
  how.truncate = (flags & O_TRUNC) != 0;
  RequestPtr r = change(req);
  fs_.create(caller_of(req), parent, name, new_node(req, S_IFREG | (mode & 07777)), exclusive, how,
             [self = shared_from_this(), r, exclusive,
              unseen = forget_name(parent, name)](Result<core::Created> created) {
               if (created) {
                 self->admit_created(r, *created, unseen);
               } else if (r->claim()) {
                 // The kernel believed the name to be free, and it is a directory or a link: it looks again.
                 const bool surprise = created.code() == Code::kExists && !exclusive;
                 r->reply_err(surprise ? ESTALE : to_errno(created.code()));
               }
             });
  r->park(parent);
}

// Unlike OPEN, CREATE may name any nodeid: where the present one takes no writer, a new one is drawn at once.
void Ops::admit_created(const RequestPtr& r, const core::Created& created,
                        const std::function<void()>& unseen) {
  const core::Entry& e = created.entry;
  constexpr int kTries = 8;  // a replacement by others between two lines of this loop costs one
  for (int i = 0; i < kTries; ++i) {
    auto nodeid = incarnations_.nodeid_for(e.attr.ino, created.file->version());
    if (!nodeid) {
      if (r->claim()) r->reply_err(to_errno(nodeid.code()));
      return;
    }
    const auto grant = incarnations_.open(
        *nodeid, created.file, Incarnations::Io::kOnlyCached,
        [self = shared_from_this(), r, created, unseen] { self->admit_created(r, created, unseen); });
    if (grant.verdict == Verdict::kCached) {
      if (r->claim()) {
        answer_create(*r, grant.handle, *nodeid, e);
      } else {
        incarnations_.close(grant.handle);
        incarnations_.forget(*nodeid, 1);
        unseen();
      }
      return;
    }
    incarnations_.forget(*nodeid, 1);
    if (grant.verdict == Verdict::kWait) return;
  }
  if (r->claim()) r->reply_err(ESTALE);
}

void Ops::answer_create(Request& r, Handle* handle, uint64_t nodeid, const core::Entry& e) {
  fuse_file_info fi{};
  fi.fh = reinterpret_cast<uint64_t>(handle);
  fi.keep_cache = 1;
  notifier_.told(e.attr.ino);
  const fuse_entry_param p = to_entry_param(nodeid, e);
  if (r.reply([&](fuse_req_t q) { return fuse_reply_create(q, &p, &fi); }) == 0) return;
  // Nobody waits any more: neither RELEASE nor FORGET will come.
  incarnations_.close(handle);
  incarnations_.forget(nodeid, 1);
}

core::Callback<core::Entry> Ops::made_entry(const RequestPtr& r, fuse_ino_t parent, const char* name) {
  return [self = shared_from_this(), r, unseen = forget_name(parent, name)](Result<core::Entry> made) {
    if (!r->claim()) {
      if (made) unseen();
    } else if (made) {
      self->answer_entry(*r, *made);
    } else {
      r->reply_err(to_errno(made.code()));
    }
  };
}

void Ops::mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t dev) {
  RequestPtr r = change(req);
  fs_.mknod(parent, name, new_node(req, mode, dev), made_entry(r, parent, name));
  r->park(parent);
}

void Ops::mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  RequestPtr r = change(req);
  fs_.mkdir(parent, name, new_node(req, S_IFDIR | (mode & 07777)), made_entry(r, parent, name));
  r->park(parent);
}

void Ops::symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  RequestPtr r = change(req);
  fs_.symlink(parent, name, target, new_node(req, S_IFLNK | 0777), made_entry(r, parent, name));
  r->park(parent);
}

}  // namespace s3cache::fuse
