// Changes of contents: WRITE, FLUSH, FSYNC, FALLOCATE, COPY_FILE_RANGE.
//
// The kernel keeps what it wrote in the pages of the nodeid it wrote through and moves its size; all that is
// left to do here is the other nodeids (Incarnations::content_changed). Writes come through (no writeback
// cache), so a write that was answered is core's.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "fuse/errno.h"
#include "fuse/ops.h"

namespace s3cache::fuse {

void Ops::forget_content(uint64_t nodeid) {
  notifier_.drop_attributes(nodeid);
  notifier_.drop_pages(nodeid, 0);  // no page record's stamp: what is known of the pages stays known
}

core::Callback<size_t> Ops::changed_content(const RequestPtr& r, uint64_t nodeid) {
  return [self = shared_from_this(), r, nodeid](Result<size_t> n) {
    // Before the answer: who hears of the write by other means must not read pages of before it for long.
    if (n) self->incarnations_.content_changed(nodeid);
    if (!r->claim()) {
      if (n) self->forget_content(nodeid);
    } else if (n) {
      r->reply([&](fuse_req_t q) { return fuse_reply_write(q, *n); });
    } else {
      r->reply_err(to_inode_errno(n.code()));
    }
  };
}

void Ops::write(fuse_req_t req, const char* data, size_t size, off_t offset, const fuse_file_info& fi) {
  const Handle& h = handle_of(fi);
  RequestPtr r = change(req);
  const auto bytes = std::as_bytes(std::span(data, size));
  // Pages written back from a mapping have their place; they carry the flags of no open.
  if ((fi.flags & O_APPEND) != 0 && fi.writepage == 0) {
    fs_.append(h.file, bytes, changed_content(r, h.nodeid));
  } else {
    fs_.write(h.file, offset, bytes, changed_content(r, h.nodeid));
  }
  r->park();
}

// Each close(2) of a descriptor, also of a dup, also at exit.
void Ops::flush(fuse_req_t req, const fuse_file_info& fi) {
  const Handle& h = handle_of(fi);
  // Not after the upload: programs of this mount see the bytes already, and others are told nothing by locks.
  locks_.release_owner(LockSpace::kPosix, h.ino, fi.lock_owner);
  if (!h.file->writable()) {
    fuse_reply_err(req, 0);
    return;
  }
  RequestPtr r = change(req);
  fs_.flush(h.file, done_with(r, to_inode_errno));
  r->park();
}

// Of read-only handles too: fsync(2) is about the file, not about the descriptor's own writes.
void Ops::fsync(fuse_req_t req, bool data_only, const fuse_file_info& fi) {
  RequestPtr r = change(req);
  fs_.fsync(handle_of(fi).file, data_only, done_with(r, to_inode_errno));
  r->park();
}

void Ops::fsyncdir(fuse_req_t req, fuse_ino_t nodeid) {
  RequestPtr r = change(req);
  fs_.fsync_directory(nodeid, done_with(r, to_inode_errno));
  r->park(nodeid);
}

void Ops::fallocate(fuse_req_t req, int mode, off_t offset, off_t length, const fuse_file_info& fi) {
  const Handle& h = handle_of(fi);
  RequestPtr r = change(req);
  fs_.fallocate(h.file, mode, offset, length,
                [self = shared_from_this(), r, nodeid = h.nodeid](Result<void> done) {
                  if (done) self->incarnations_.content_changed(nodeid);
                  if (r->claim()) {
                    r->reply_err(done ? 0 : to_inode_errno(done.code()));
                  } else if (done) {
                    self->forget_content(nodeid);
                  }
                });
  r->park();
}

void Ops::copy_file_range(fuse_req_t req, const fuse_file_info& in, off_t in_offset,
                          const fuse_file_info& out, off_t out_offset, size_t length) {
  constexpr size_t kMost = 0x7ffff000;  // the answer has 32 bits
  const Handle& to = handle_of(out);
  RequestPtr r = change(req);
  fs_.copy_range(handle_of(in).file, in_offset, to.file, out_offset,
                 static_cast<int64_t>(std::min(length, kMost)), changed_content(r, to.nodeid));
  r->park();
}

}  // namespace s3cache::fuse
