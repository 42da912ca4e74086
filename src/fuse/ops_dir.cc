// Directories: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR.
//
// The kernel's own cache of listings (FOPEN_CACHE_DIR) stays off: its entries live until told otherwise, not
// for a TTL, so a name past its TTL would go on being listed. A warm directory comes out of LMDB.
#include <dirent.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "fuse/errno.h"
#include "fuse/ops.h"

namespace s3cache::fuse {
namespace {

bool is_dots(std::string_view name) { return name == "." || name == ".."; }

// Writes the kernel's records straight into the reply buffer. Used by one thread at a time, as Namespace
// promises.
class ReplySink : public core::DirSink {
 public:
  ReplySink(Incarnations& incarnations, Notifier& notifier, size_t size, bool plus)
      : incarnations_(incarnations),
        notifier_(notifier),
        plus_(plus),
        size_(size),
        buffer_(std::make_unique_for_overwrite<char[]>(size)) {}
  ~ReplySink() override { forget_all(); }

  bool add(const core::DirItem& item) override {
    name_.assign(item.name);
    return plus_ ? add_plus(item) : add_plain(item);
  }

  const char* data() const { return buffer_.get(); }
  size_t used() const { return used_; }
  // The kernel has the entries: its FORGETs will come.
  void delivered() { counted_.clear(); }

 private:
  bool add_plain(const core::DirItem& item) {
    struct stat s {};
    s.st_ino = item.ino;
    s.st_mode = DTTOIF(item.d_type);
    return took(fuse_add_direntry(nullptr, buffer_.get() + used_, room(), name_.c_str(), &s,
                                  static_cast<off_t>(item.cookie)));
  }

  // An entry with nodeid 0 carries name, number and type only; the kernel looks it up when somebody wants
  // more.
  bool add_plus(const core::DirItem& item) {
    fuse_entry_param p{};
    bool counted = false;
    if (item.entry != nullptr && !is_dots(item.name)) {
      uint64_t nodeid = item.ino;
      if (S_ISREG(item.entry->attr.mode)) {
        auto node = incarnations_.nodeid_for(item.ino, item.entry->version);
        nodeid = node ? *node : 0;
        counted = nodeid != 0 && nodeid != item.ino;
      }
      p = to_entry_param(nodeid, *item.entry);
    } else {
      p.attr.st_ino = item.ino;
      p.attr.st_mode = DTTOIF(item.d_type);
    }
    const bool fits = took(fuse_add_direntry_plus(nullptr, buffer_.get() + used_, room(), name_.c_str(), &p,
                                                  static_cast<off_t>(item.cookie)));
    if (counted && fits) counted_.push_back(p.ino);
    if (counted && !fits) incarnations_.forget(p.ino, 1);
    if (fits && p.ino != 0) notifier_.told(item.ino);
    return fits;
  }

  size_t room() const { return size_ - used_; }
  // libfuse says what the entry needs, and writes it only if there is room.
  bool took(size_t need) {
    if (need > room()) return false;
    used_ += need;
    return true;
  }
  void forget_all() {
    for (uint64_t nodeid : counted_) incarnations_.forget(nodeid, 1);
  }

  Incarnations& incarnations_;
  Notifier& notifier_;
  const bool plus_;
  const size_t size_;
  const std::unique_ptr<char[]> buffer_;
  size_t used_ = 0;
  std::string name_;               // NUL-terminated copy; kept for its capacity
  std::vector<uint64_t> counted_;  // nodeids whose lookup counts
};

}  // namespace

void Ops::opendir(fuse_req_t req, fuse_ino_t nodeid) {
  auto handle = fs_.names().opendir(nodeid);
  if (!handle) {
    fuse_reply_err(req, to_inode_errno(handle.code()));
    return;
  }
  auto kept = std::make_unique<std::shared_ptr<core::DirHandle>>(std::move(*handle));
  fuse_file_info fi{};
  fi.fh = reinterpret_cast<uint64_t>(kept.get());
  {
    MutexLock lock(dirs_mu_);
    dirs_.emplace(fi.fh, std::move(kept));
  }
  if (fuse_reply_open(req, &fi) != 0) drop_dir(fi.fh);  // nobody waits: no RELEASEDIR will come
}

void Ops::readdir(fuse_req_t req, fuse_ino_t nodeid, uint64_t fh, size_t size, off_t cookie, bool plus) {
  RequestPtr r = request(req);
  auto sink = std::make_shared<ReplySink>(incarnations_, notifier_, size, plus);
  fs_.names().readdir(
      *reinterpret_cast<std::shared_ptr<core::DirHandle>*>(fh), static_cast<uint64_t>(cookie), plus, sink,
      [self = shared_from_this(), r, sink](Result<bool> more) {
        if (!r->claim()) return;
        if (!more && sink->used() == 0) {
          r->reply_err(to_inode_errno(more.code()));
          return;
        }
        // After an error the next call starts behind what goes out here, and reports it then.
        const int rc = r->reply([&](fuse_req_t q) { return fuse_reply_buf(q, sink->data(), sink->used()); });
        if (rc == 0) sink->delivered();
      });
  r->park(nodeid);
}

void Ops::releasedir(fuse_req_t req, uint64_t fh) {
  drop_dir(fh);
  fuse_reply_err(req, 0);
}

void Ops::drop_dir(uint64_t fh) {
  decltype(dirs_)::node_type gone;  // ends outside the lock
  MutexLock lock(dirs_mu_);
  gone = dirs_.extract(fh);
}

}  // namespace s3cache::fuse
