// Files: OPEN, READ, RELEASE.
#include <fcntl.h>

#include <cerrno>

#include "base/log.h"
#include "base/unique_fd.h"
#include "fuse/errno.h"
#include "fuse/ops.h"

namespace s3cache::fuse {

void Ops::open(fuse_req_t req, fuse_ino_t nodeid, int flags) {
  const bool direct = (flags & O_DIRECT) != 0;
  core::Filesystem::OpenFlags how;
  how.direct = direct;
  how.no_read = (flags & O_ACCMODE) == O_WRONLY;
  how.write = (flags & O_ACCMODE) != O_RDONLY;
  how.truncate = (flags & O_TRUNC) != 0;
  if (how.write || how.truncate) {
    if (read_only_) {
      fuse_reply_err(req, EROFS);
      return;
    }
    // Before core truncates for an open that would then fail.
    if (incarnations_.refuses_writer(nodeid)) {
      fuse_reply_err(req, ESTALE);
      return;
    }
  }
  RequestPtr r = how.truncate ? change(req) : request(req);
  fs_.open(caller_of(req), incarnations_.ino_of(nodeid), how,
           [self = shared_from_this(), r, nodeid, how](Result<std::shared_ptr<core::OpenFile>> file) {
             if (file && how.truncate) self->incarnations_.content_changed(nodeid);
             if (!r->claim()) {  // interrupted: the OpenFile goes with this callback
               if (file && how.truncate) self->forget_content(nodeid);
             } else if (!file) {
               r->reply_err(to_inode_errno(file.code()));
             } else if (!how.truncate && self->notifier_.unsettled((*file)->ino())) {
               // The kernel still holds the attributes of before a change (a size that would cut reads
               // short): the LOOKUP that follows brings the present ones.
               r->reply_err(ESTALE);
             } else {
               self->admit(r, nodeid, how.direct, *file);
             }
           });
  r->park(how.truncate ? nodeid : 0);
}

void Ops::admit(const RequestPtr& r, uint64_t nodeid, bool direct,
                const std::shared_ptr<core::OpenFile>& file) {
  const auto grant = incarnations_.open(
      nodeid, file, compat_->passthrough() ? Incarnations::Io::kAny : Incarnations::Io::kNoPassthrough,
      [self = shared_from_this(), r, nodeid, direct, file] { self->admit(r, nodeid, direct, file); });
  switch (grant.verdict) {
    case Verdict::kWait:
      return;
    case Verdict::kStale:
      r->reply_err(ESTALE);
      return;
    case Verdict::kCached:
      answer_open(*r, grant.handle, 0, direct);
      return;
    case Verdict::kJoin:
      answer_open(*r, grant.handle, grant.backing_id, direct);
      return;
    case Verdict::kRegister: {
      const int32_t id = register_backing(*file);
      // Before the reply: those who wait may join at once, the kernel takes equal ids in any order.
      incarnations_.registered(grant.handle, id);
      answer_open(*r, grant.handle, id, direct);
      return;
    }
  }
}

// 0: no backing id to be had (no descriptor left, the disk failed): the daemon reads for the kernel instead.
int32_t Ops::register_backing(core::OpenFile& file) {
  auto fd = file.backing_fd();
  if (!fd) {
    log::warn("fuse: inode {}: {}: read through the daemon", file.ino(), fd.error().message);
    return 0;
  }
  const UniqueFd closer(*fd);  // the kernel holds the file by itself: 10,000 open files cost no descriptor
  // A slow core thread may come here when the mount is being taken apart.
  if (!parked_->gate().enter()) return 0;
  auto id = compat_->backing_open(*fd);
  parked_->gate().leave();
  if (!id) {
    log::warn("fuse: inode {}: {}: read through the daemon", file.ino(), id.error().message);
    return 0;
  }
  return *id;
}

void Ops::release_backing(int32_t id) {
  if (id <= 0 || !parked_->gate().enter()) return;
  compat_->backing_close(id);
  parked_->gate().leave();
}

void Ops::answer_open(Request& r, Handle* handle, int32_t backing_id, bool direct) {
  // Read-only handles save their FLUSH; what it would release, their RELEASE does.
  uint32_t flags = handle->file->writable() ? 0 : kOpenNoFlush;
  if (backing_id > 0) {
    // The kernel allows no KEEP_CACHE here. With DIRECT_IO read(2) comes to the daemon and mmap to the
    // backing file.
    flags |= kOpenPassthrough | (direct ? kOpenDirectIo : 0);
  } else {
    // The pages under this nodeid are of this version only: they may stay, always. A writer's O_DIRECT is
    // left to the kernel's own way, which drops the pages around a write before and after it; DIRECT_IO only
    // before.
    flags |= direct && !handle->file->writable() ? kOpenDirectIo : kOpenKeepCache;
  }
  const int rc = r.reply([&](fuse_req_t q) {
    return KernelCompat::reply_open(q, reinterpret_cast<uint64_t>(handle), flags, backing_id);
  });
  if (rc == 0) return;
  // The opener is gone: no RELEASE will come.
  release_backing(incarnations_.close(handle));
}

void Ops::read(fuse_req_t req, uint64_t fh, off_t offset, size_t size) {
  RequestPtr r = request(req);
  fs_.read(reinterpret_cast<Handle*>(fh)->file, offset, size, [r](Result<core::ReadReply> bytes) {
    if (!r->claim()) return;
    if (!bytes) {
      r->reply_err(to_inode_errno(bytes.code()));
      return;
    }
    r->reply([&](fuse_req_t q) { return fuse_reply_iov(q, bytes->data(), static_cast<int>(bytes->size())); });
  });
  r->park();
}

void Ops::release(fuse_req_t req, const fuse_file_info& fi) {
  Handle& h = handle_of(fi);
  if (fi.flock_release != 0) locks_.release_owner(LockSpace::kFlock, h.ino, fi.lock_owner);
  locks_.release_handle(h.ino, fi.fh);
  release_backing(incarnations_.close(&h));
  fuse_reply_err(req, 0);
}

}  // namespace s3cache::fuse
