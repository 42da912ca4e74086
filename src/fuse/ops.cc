#include "fuse/ops.h"

#include <cerrno>
#include <utility>

namespace s3cache::fuse {
namespace {

Ops& ops_of(fuse_req_t req) { return *static_cast<UserData*>(fuse_req_userdata(req))->ops; }

// This floor reads. MS_RDONLY stops nearly all of these in the kernel; on a mount without it they say why.
int read_only(fuse_req_t req) { return fuse_reply_err(req, EROFS); }

void fill_read_only(fuse_lowlevel_ops& t) {
  t.setattr = [](fuse_req_t r, fuse_ino_t, struct stat*, int, fuse_file_info*) { read_only(r); };
  t.mknod = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, dev_t) { read_only(r); };
  t.mkdir = [](fuse_req_t r, fuse_ino_t, const char*, mode_t) { read_only(r); };
  t.unlink = [](fuse_req_t r, fuse_ino_t, const char*) { read_only(r); };
  t.rmdir = [](fuse_req_t r, fuse_ino_t, const char*) { read_only(r); };
  t.symlink = [](fuse_req_t r, const char*, fuse_ino_t, const char*) { read_only(r); };
  t.rename = [](fuse_req_t r, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) { read_only(r); };
  t.link = [](fuse_req_t r, fuse_ino_t, fuse_ino_t, const char*) { read_only(r); };
  t.create = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, fuse_file_info*) { read_only(r); };
  t.write = [](fuse_req_t r, fuse_ino_t, const char*, size_t, off_t, fuse_file_info*) { read_only(r); };
  t.fallocate = [](fuse_req_t r, fuse_ino_t, int, off_t, off_t, fuse_file_info*) { read_only(r); };
  t.setxattr = [](fuse_req_t r, fuse_ino_t, const char*, const char*, size_t, int) { read_only(r); };
  t.removexattr = [](fuse_req_t r, fuse_ino_t, const char*) { read_only(r); };
}

void fill_names(fuse_lowlevel_ops& t, bool use_xattr) {
  t.lookup = [](fuse_req_t r, fuse_ino_t parent, const char* name) { ops_of(r).lookup(r, parent, name); };
  t.getattr = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info*) { ops_of(r).getattr(r, ino); };
  t.readlink = [](fuse_req_t r, fuse_ino_t ino) { ops_of(r).readlink(r, ino); };
  t.statfs = [](fuse_req_t r, fuse_ino_t) { ops_of(r).statfs(r); };
  t.forget = [](fuse_req_t r, fuse_ino_t ino, uint64_t n) {
    ops_of(r).incarnations().forget(ino, n);
    fuse_reply_none(r);
  };
  t.forget_multi = [](fuse_req_t r, size_t count, fuse_forget_data* forgets) {
    for (size_t i = 0; i < count; ++i) ops_of(r).incarnations().forget(forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(r);
  };
  if (!use_xattr) return;  // a missing operation is ENOSYS, after which the kernel asks no more
  t.getxattr = [](fuse_req_t r, fuse_ino_t ino, const char* name, size_t size) {
    ops_of(r).getxattr(r, ino, name, size);
  };
  t.listxattr = [](fuse_req_t r, fuse_ino_t ino, size_t size) { ops_of(r).listxattr(r, ino, size); };
}

void fill_handles(fuse_lowlevel_ops& t) {
  t.opendir = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info*) { ops_of(r).opendir(r, ino); };
  t.readdir = [](fuse_req_t r, fuse_ino_t ino, size_t size, off_t off, fuse_file_info* fi) {
    ops_of(r).readdir(r, ino, fi->fh, size, off, false);
  };
  t.readdirplus = [](fuse_req_t r, fuse_ino_t ino, size_t size, off_t off, fuse_file_info* fi) {
    ops_of(r).readdir(r, ino, fi->fh, size, off, true);
  };
  t.releasedir = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi) { ops_of(r).releasedir(r, fi->fh); };
  t.open = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info* fi) { ops_of(r).open(r, ino, fi->flags); };
  t.read = [](fuse_req_t r, fuse_ino_t, size_t size, off_t off, fuse_file_info* fi) {
    ops_of(r).read(r, fi->fh, off, size);
  };
  t.release = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi) { ops_of(r).release(r, fi->fh); };
  // Never ENOSYS on flush (a later writer needs it); NOFLUSH keeps the kernel from asking for read-only
  // handles.
  t.flush = [](fuse_req_t r, fuse_ino_t, fuse_file_info*) { fuse_reply_err(r, 0); };
  t.fsync = [](fuse_req_t r, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(r, 0); };
  t.fsyncdir = [](fuse_req_t r, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(r, 0); };
}

timespec to_timespec(int64_t ns) {
  timespec t{};
  t.tv_sec = ns / 1'000'000'000;
  t.tv_nsec = ns % 1'000'000'000;
  if (t.tv_nsec < 0) {
    --t.tv_sec;
    t.tv_nsec += 1'000'000'000;
  }
  return t;
}

}  // namespace

Ops::Ops(const Options& options, core::Filesystem& fs, Notifier& notifier,
         std::shared_ptr<KernelCompat> compat, Incarnations::NextId next_id)
    : max_io_(options.max_io),
      max_background_(static_cast<unsigned>(options.max_background)),
      fs_(fs),
      notifier_(notifier),
      compat_(std::move(compat)),
      incarnations_(
          std::move(next_id),
          [this](uint64_t nodeid, uint64_t stamp) { notifier_.drop_pages(nodeid, stamp); },
          options.page_records) {}

// `access` is left out: with default_permissions the kernel decides from the attributes and never asks;
// without it the library's ENOSYS means "allowed", which is what no_default_permissions asks for. `lseek`,
// `copy_file_range`, `ioctl`, `poll` and the locks are left out for the kernel's own fallbacks.
fuse_lowlevel_ops Ops::table(const Options& options) {
  fuse_lowlevel_ops t{};
  t.init = [](void* userdata, fuse_conn_info* conn) { static_cast<UserData*>(userdata)->ops->init(conn); };
  fill_names(t, options.use_xattr);
  fill_handles(t);
  fill_read_only(t);
  return t;
}

struct stat to_stat(const core::Attr& a) {
  struct stat s {};
  s.st_ino = a.ino;
  s.st_mode = a.mode;
  s.st_nlink = a.nlink;
  s.st_uid = a.uid;
  s.st_gid = a.gid;
  s.st_rdev = a.rdev;
  s.st_size = a.size;
  s.st_blksize = 1 << 20;  // what cp and cat read at a time
  s.st_blocks = (a.size + 511) / 512;
  s.st_mtim = to_timespec(a.mtime_ns);
  s.st_ctim = to_timespec(a.ctime_ns);
  s.st_atim = to_timespec(a.atime_ns);
  return s;
}

fuse_entry_param to_entry_param(uint64_t nodeid, const core::Entry& e) {
  fuse_entry_param p{};
  p.ino = nodeid;
  p.attr = to_stat(e.attr);
  p.attr_timeout = p.entry_timeout = to_seconds(e.ttl_ms);
  return p;
}

}  // namespace s3cache::fuse
