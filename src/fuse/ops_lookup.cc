// Names and attributes: LOOKUP, GETATTR, READLINK, STATFS, xattrs.
#include <algorithm>
#include <cerrno>

#include "base/crash_point.h"
#include "fuse/errno.h"
#include "fuse/ops.h"

namespace s3cache::fuse {

void Ops::init(fuse_conn_info* conn) {
  // Data changes are announced (a new nodeid, a notification), so the kernel need not ask before each read,
  // and splice gained nothing over a copy and was seen to throw pages out of the cache files' page cache.
  conn->want &=
      ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                             FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE);
  // The kernel itself takes set-user-id off at a write, by SETATTR, and only where the bit is set.
  conn->want &= ~static_cast<unsigned>(FUSE_CAP_HANDLE_KILLPRIV);
  const unsigned wanted = FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                          FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
                          FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
  conn->want |= conn->capable & wanted;
  conn->max_write = conn->max_read = static_cast<unsigned>(max_io_);
  conn->max_background = max_background_;
  conn->congestion_threshold = max_background_ * 3 / 4;
  compat_->configure(conn);
}

void Ops::lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  RequestPtr r = request(req);
  fs_.names().lookup(caller_of(req), parent, name,
                     [self = shared_from_this(), r](Result<core::LookupReply> answer) {
                       if (r->claim()) self->answer_lookup(*r, answer);
                     });
  r->park(parent);
}

void Ops::answer_lookup(Request& r, const Result<core::LookupReply>& answer) {
  if (!answer) {
    r.reply_err(to_errno(answer.code()));
    return;
  }
  if (answer->found) {
    answer_entry(r, answer->entry);
    return;
  }
  fuse_entry_param p{};
  p.entry_timeout = to_seconds(answer->ttl_ms);  // nodeid 0: absent, and believed to be for that long
  r.reply([&p](fuse_req_t q) { return fuse_reply_entry(q, &p); });
}

void Ops::answer_entry(Request& r, const core::Entry& e) {
  uint64_t nodeid = e.attr.ino;
  if (S_ISREG(e.attr.mode)) {
    auto node = incarnations_.nodeid_for(e.attr.ino, e.version);
    if (!node) {
      r.reply_err(to_errno(node.code()));
      return;
    }
    nodeid = *node;
  }
  notifier_.told(e.attr.ino);
  fuse_entry_param p = to_entry_param(nodeid, e);
  p.attr_timeout = std::min(p.attr_timeout, attr_ttl(nodeid, e));
  const int rc = r.reply([&p](fuse_req_t q) { return fuse_reply_entry(q, &p); });
  if (rc != 0) incarnations_.forget(nodeid, 1);
}

double Ops::attr_ttl(uint64_t nodeid, const core::Entry& e) {
  return !S_ISREG(e.attr.mode) || incarnations_.attributes_last(nodeid) ? to_seconds(e.ttl_ms) : 0.0;
}

void Ops::getattr(fuse_req_t req, fuse_ino_t nodeid) {
  // A retired incarnation nobody writes to is one version for good; core knows only the present one.
  if (auto attr = incarnations_.live_attr(nodeid, /*only_retired=*/true)) {
    const struct stat s = to_stat(*attr);
    fuse_reply_attr(req, &s, 1.0);  // any TTL would do: they will not change
    return;
  }
  RequestPtr r = request(req);
  fs_.names().getattr(caller_of(req), incarnations_.ino_of(nodeid),
                      [self = shared_from_this(), r, nodeid](Result<core::Entry> answer) {
                        if (r->claim()) self->answer_getattr(*r, nodeid, answer);
                      });
  r->park();
}

void Ops::answer_getattr(Request& r, uint64_t nodeid, const Result<core::Entry>& answer) {
  std::optional<core::Attr> live;
  if (!answer) {
    // fstat of an open file holds when the object is gone or the network is down.
    live = incarnations_.live_attr(nodeid, /*only_retired=*/false);
    if (!live) {
      r.reply_err(to_inode_errno(answer.code()));
      return;
    }
  } else {
    if (S_ISREG(answer->attr.mode)) live = incarnations_.live_attr(nodeid, answer->version);
    notifier_.told(answer->attr.ino);
  }
  struct stat s = to_stat(live ? *live : answer->attr);
  if (answer.is(Code::kNotFound)) s.st_nlink = 0;  // open, and without a name
  const double ttl = answer ? attr_ttl(nodeid, *answer) : 0.0;
  r.reply([&](fuse_req_t q) { return fuse_reply_attr(q, &s, ttl); });
}

void Ops::readlink(fuse_req_t req, fuse_ino_t nodeid) {
  RequestPtr r = request(req);
  fs_.names().readlink(nodeid, [r](Result<std::string> target) {
    if (!r->claim()) return;
    if (!target) {
      r->reply_err(to_inode_errno(target.code()));
    } else {
      r->reply([&](fuse_req_t q) { return fuse_reply_readlink(q, target->c_str()); });
    }
  });
  r->park();
}

void Ops::statfs(fuse_req_t req) {
  crash_point("first-request");
  const core::FsStat f = fs_.statfs();
  struct statvfs s {};
  s.f_bsize = s.f_frsize = f.block_size;
  s.f_blocks = f.blocks;
  s.f_bfree = s.f_bavail = f.blocks_free;
  s.f_files = f.files;
  s.f_ffree = s.f_favail = f.files_free;
  s.f_namemax = 255;
  fuse_reply_statfs(req, &s);
}

namespace {

// The xattr protocol: size 0 asks how much there is, a buffer too small is ERANGE.
int reply_value(Request& r, const std::string& value, size_t size) {
  if (size == 0) return r.reply([&](fuse_req_t q) { return fuse_reply_xattr(q, value.size()); });
  if (value.size() > size) return r.reply_err(ERANGE);
  return r.reply([&](fuse_req_t q) { return fuse_reply_buf(q, value.data(), value.size()); });
}

}  // namespace

void Ops::getxattr(fuse_req_t req, fuse_ino_t nodeid, const char* name, size_t size) {
  RequestPtr r = request(req);
  fs_.getxattr(incarnations_.ino_of(nodeid), name, [r, size](Result<std::string> value) {
    if (!r->claim()) return;
    if (!value) {
      r->reply_err(to_xattr_errno(value.code()));
    } else {
      reply_value(*r, *value, size);
    }
  });
  r->park();
}

void Ops::listxattr(fuse_req_t req, fuse_ino_t nodeid, size_t size) {
  RequestPtr r = request(req);
  fs_.listxattr(incarnations_.ino_of(nodeid), [r, size](Result<std::vector<std::string>> names) {
    if (!r->claim()) return;
    if (!names) {
      r->reply_err(to_inode_errno(names.code()));
      return;
    }
    std::string all;
    for (const std::string& n : *names) all.append(n).push_back('\0');
    reply_value(*r, all, size);
  });
  r->park();
}

}  // namespace s3cache::fuse
