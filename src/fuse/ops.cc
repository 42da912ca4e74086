#include "fuse/ops.h"

#include <cerrno>
#include <utility>

namespace s3cache::fuse {
namespace {

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
    : read_only_(options.read_only),
      max_io_(options.max_io),
      max_background_(static_cast<unsigned>(options.max_background)),
      fs_(fs),
      notifier_(notifier),
      compat_(std::move(compat)),
      incarnations_(
          std::move(next_id),
          [this](uint64_t nodeid, uint64_t stamp) { notifier_.drop_pages(nodeid, stamp); },
          [this](uint64_t nodeid) { notifier_.drop_attributes(nodeid); }, options.page_records) {}

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
  p.entry_timeout = to_seconds(e.ttl_ms);
  p.attr_timeout = e.guessed ? 0 : p.entry_timeout;
  return p;
}

core::NewNode new_node(fuse_req_t req, mode_t mode, dev_t dev) {
  const fuse_ctx* who = fuse_req_ctx(req);
  core::NewNode n;
  n.mode = mode;  // the kernel has taken the umask off: DONT_MASK is not asked for
  n.uid = who->uid;
  n.gid = who->gid;
  n.rdev = static_cast<uint32_t>(dev);
  return n;
}

core::Callback<void> done_with(const RequestPtr& r, int (*errno_of)(Code), std::function<void()> unseen) {
  return [r, errno_of, unseen = std::move(unseen)](Result<void> done) {
    if (r->claim()) {
      r->reply_err(done ? 0 : errno_of(done.code()));
    } else if (done && unseen) {
      unseen();
    }
  };
}

std::function<void()> Ops::forget_name(fuse_ino_t parent, const char* name) {
  return [self = shared_from_this(), parent, name = std::string(name)] {
    self->notifier_.entry_removed(parent, name);
  };
}

}  // namespace s3cache::fuse
