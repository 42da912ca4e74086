// The table libfuse calls: each entry finds its Ops and unpacks the arguments.
#include <cerrno>

#include "fuse/ops.h"

namespace s3cache::fuse {
namespace {

Ops& ops_of(fuse_req_t req) { return *static_cast<UserData*>(fuse_req_userdata(req))->ops; }

// MS_RDONLY stops nearly all of these in the kernel; after `mount -o remount,rw` they say why.
int read_only(fuse_req_t req) { return fuse_reply_err(req, EROFS); }

void fill_read_only(fuse_lowlevel_ops& t) {
  t.setattr = [](fuse_req_t r, fuse_ino_t, struct stat*, int, fuse_file_info*) { read_only(r); };
  t.mknod = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, dev_t) { read_only(r); };
  t.mkdir = [](fuse_req_t r, fuse_ino_t, const char*, mode_t) { read_only(r); };
  t.unlink = [](fuse_req_t r, fuse_ino_t, const char*) { read_only(r); };
  t.rmdir = [](fuse_req_t r, fuse_ino_t, const char*) { read_only(r); };
  t.symlink = [](fuse_req_t r, const char*, fuse_ino_t, const char*) { read_only(r); };
  t.rename = [](fuse_req_t r, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) { read_only(r); };
  t.create = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, fuse_file_info*) { read_only(r); };
  t.write = [](fuse_req_t r, fuse_ino_t, const char*, size_t, off_t, fuse_file_info*) { read_only(r); };
  t.fallocate = [](fuse_req_t r, fuse_ino_t, int, off_t, off_t, fuse_file_info*) { read_only(r); };
  t.setxattr = [](fuse_req_t r, fuse_ino_t, const char*, const char*, size_t, int) { read_only(r); };
  t.removexattr = [](fuse_req_t r, fuse_ino_t, const char*) { read_only(r); };
}

void fill_name_changes(fuse_lowlevel_ops& t, bool use_xattr) {
  t.setattr = [](fuse_req_t r, fuse_ino_t ino, struct stat* attr, int to_set, fuse_file_info* fi) {
    ops_of(r).setattr(r, ino, *attr, to_set, fi);
  };
  t.mknod = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode, dev_t dev) {
    ops_of(r).mknod(r, parent, name, mode, dev);
  };
  t.mkdir = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode) {
    ops_of(r).mkdir(r, parent, name, mode);
  };
  t.unlink = [](fuse_req_t r, fuse_ino_t parent, const char* name) { ops_of(r).unlink(r, parent, name); };
  t.rmdir = [](fuse_req_t r, fuse_ino_t parent, const char* name) { ops_of(r).rmdir(r, parent, name); };
  t.symlink = [](fuse_req_t r, const char* target, fuse_ino_t parent, const char* name) {
    ops_of(r).symlink(r, target, parent, name);
  };
  t.rename = [](fuse_req_t r, fuse_ino_t parent, const char* name, fuse_ino_t to, const char* new_name,
                unsigned flags) { ops_of(r).rename(r, parent, name, to, new_name, flags); };
  t.create = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
    ops_of(r).create(r, parent, name, mode, fi->flags);
  };
  if (!use_xattr) return;
  t.setxattr = [](fuse_req_t r, fuse_ino_t ino, const char* name, const char* value, size_t size, int flags) {
    ops_of(r).setxattr(r, ino, name, std::string(value, size), flags);
  };
  t.removexattr = [](fuse_req_t r, fuse_ino_t ino, const char* name) { ops_of(r).removexattr(r, ino, name); };
}

void fill_content_changes(fuse_lowlevel_ops& t) {
  t.write = [](fuse_req_t r, fuse_ino_t, const char* data, size_t size, off_t off, fuse_file_info* fi) {
    ops_of(r).write(r, data, size, off, *fi);
  };
  t.fallocate = [](fuse_req_t r, fuse_ino_t, int mode, off_t off, off_t length, fuse_file_info* fi) {
    ops_of(r).fallocate(r, mode, off, length, *fi);
  };
  t.copy_file_range = [](fuse_req_t r, fuse_ino_t, off_t in_off, fuse_file_info* in, fuse_ino_t,
                         off_t out_off, fuse_file_info* out, size_t length,
                         int) { ops_of(r).copy_file_range(r, *in, in_off, *out, out_off, length); };
}

void fill_locks(fuse_lowlevel_ops& t) {
  t.getlk = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi, struct flock* wish) {
    ops_of(r).getlk(r, *fi, *wish);
  };
  t.setlk = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi, struct flock* wish, int sleep) {
    ops_of(r).setlk(r, *fi, *wish, sleep != 0);
  };
  t.flock = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi, int op) { ops_of(r).flock(r, *fi, op); };
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
  t.release = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi) { ops_of(r).release(r, *fi); };
  // Never ENOSYS on flush (a later writer needs it); NOFLUSH keeps the kernel from asking for read-only
  // handles.
  t.flush = [](fuse_req_t r, fuse_ino_t, fuse_file_info* fi) { ops_of(r).flush(r, *fi); };
  t.fsync = [](fuse_req_t r, fuse_ino_t, int data_only, fuse_file_info* fi) {
    ops_of(r).fsync(r, data_only != 0, *fi);
  };
  t.fsyncdir = [](fuse_req_t r, fuse_ino_t ino, int, fuse_file_info*) { ops_of(r).fsyncdir(r, ino); };
}

}  // namespace

// `access` is left out: with default_permissions the kernel decides from the attributes and never asks;
// without it the library's ENOSYS means "allowed", which is what no_default_permissions asks for. `lseek`,
// `ioctl` and `poll` are left out for the kernel's own fallbacks. syncfs(2) never comes: the kernel sends it
// to virtiofs alone.
fuse_lowlevel_ops Ops::table(const Options& options) {
  fuse_lowlevel_ops t{};
  t.init = [](void* userdata, fuse_conn_info* conn) { static_cast<UserData*>(userdata)->ops->init(conn); };
  fill_names(t, options.use_xattr);
  fill_handles(t);
  fill_locks(t);
  if (options.read_only) {
    fill_read_only(t);
  } else {
    fill_name_changes(t, options.use_xattr);
    fill_content_changes(t);
  }
  // An object has one key.
  t.link = [](fuse_req_t r, fuse_ino_t, fuse_ino_t, const char*) { fuse_reply_err(r, EOPNOTSUPP); };
  return t;
}

}  // namespace s3cache::fuse
