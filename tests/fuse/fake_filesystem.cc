#include "fuse/fake_filesystem.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fuse/fake_file.h"

namespace s3cache::fuse {

FakeOpenFile::FakeOpenFile(FakeFilesystem& fs, core::Attr attr, std::shared_ptr<FakeFilesystem::Content> c,
                           bool write, bool fail)
    : fs_(fs), attr_(attr), content(std::move(c)), write_(write), fail_(fail) {
  ++fs_.open_files;
  if (write_) ++content->writers;
}
FakeOpenFile::~FakeOpenFile() {
  if (write_) --content->writers;
  --fs_.open_files;
}
Result<int> FakeOpenFile::backing_fd() {
  if (fail_) return Error{Code::kIo, "backing_fd: switched off by the test"};
  const int fd = ::open(content->path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "open " + content->path);
  ++fs_.backing_fds;
  return fd;
}

namespace {

struct FakeDir : core::DirHandle {
  uint64_t ino = 0;
};

}  // namespace

FakeFilesystem::FakeFilesystem(std::string backing_dir) : backing_dir_(std::move(backing_dir)) {
  Node root;
  root.attr.ino = 1;
  root.attr.mode = S_IFDIR | 0755;
  root.attr.nlink = 2;
  MutexLock lock(mu_);
  nodes_[1] = root;
}

FakeFilesystem::~FakeFilesystem() = default;

std::shared_ptr<FakeFilesystem::Content> FakeFilesystem::make_content(const std::string& bytes, bool sealed) {
  auto c = std::make_shared<Content>();
  c->version = ++last_version_;
  c->size = static_cast<int64_t>(bytes.size());
  c->path = backing_dir_ + "/v" + std::to_string(c->version);
  c->bytes = bytes;
  c->sealed = sealed;
  UniqueFd fd(::open(c->path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  return c;
}

uint64_t FakeFilesystem::add(uint64_t parent, const std::string& name, Node node) {
  MutexLock lock(mu_);
  const uint64_t ino = ++last_id_;
  node.attr.ino = ino;
  node.parent = parent;
  node.attr.mtime_ns = node.attr.ctime_ns = node.attr.atime_ns = 1'700'000'000'000'000'000;
  nodes_[parent].children[name] = ino;
  nodes_[ino] = std::move(node);
  return ino;
}

uint64_t FakeFilesystem::add_dir(uint64_t parent, const std::string& name) {
  Node n;
  n.attr.mode = S_IFDIR | 0755;
  n.attr.nlink = 2;
  return add(parent, name, std::move(n));
}

uint64_t FakeFilesystem::add_file(uint64_t parent, const std::string& name, const std::string& bytes,
                                  bool sealed) {
  Node n;
  n.attr.mode = S_IFREG | 0644;
  n.content = make_content(bytes, sealed);
  n.attr.size = n.content->size;
  return add(parent, name, std::move(n));
}

uint64_t FakeFilesystem::add_link(uint64_t parent, const std::string& name, const std::string& target) {
  Node n;
  n.attr.mode = S_IFLNK | 0777;
  n.attr.size = static_cast<int64_t>(target.size());
  n.target = target;
  return add(parent, name, std::move(n));
}

uint64_t FakeFilesystem::add_backed_file(uint64_t parent, const std::string& name,
                                         const std::string& backing_path, bool sealed) {
  Node n;
  n.attr.mode = S_IFREG | 0644;
  n.content = std::make_shared<Content>();
  n.content->version = ++last_version_;
  n.content->path = backing_path;
  n.content->fd.reset(::open(backing_path.c_str(), O_RDONLY | O_CLOEXEC));
  n.content->temporary = false;
  n.content->sealed = sealed;
  struct stat s {};
  ::fstat(n.content->fd.get(), &s);
  n.attr.size = n.content->size = s.st_size;
  return add(parent, name, std::move(n));
}

void FakeFilesystem::replace(uint64_t ino, const std::string& bytes, bool sealed) {
  auto c = make_content(bytes, sealed);
  {
    MutexLock lock(mu_);
    nodes_[ino].attr.size = c->size;
    nodes_[ino].attr.mtime_ns += 1'000'000'000;
    nodes_[ino].content = c;
  }
  if (listener_ != nullptr) listener_->inode_changed(ino);
}

void FakeFilesystem::seal(uint64_t ino) {
  MutexLock lock(mu_);
  nodes_[ino].content->sealed = true;
}

void FakeFilesystem::unseal(uint64_t ino) {
  MutexLock lock(mu_);
  nodes_[ino].content->sealed = false;
}

void FakeFilesystem::remove(uint64_t parent, const std::string& name) {
  {
    MutexLock lock(mu_);
    auto& children = nodes_[parent].children;
    nodes_.erase(children[name]);
    children.erase(name);
  }
  if (listener_ != nullptr) listener_->entry_removed(parent, name);
}

void FakeFilesystem::stall(Op op, uint64_t ino) {
  MutexLock lock(mu_);
  stalled_[op] = ino;
}

void FakeFilesystem::unstall() {
  std::vector<std::function<void()>> work;
  {
    MutexLock lock(mu_);
    stalled_.clear();
    work.swap(held_);
  }
  for (auto& w : work) w();
}

size_t FakeFilesystem::held() {
  MutexLock lock(mu_);
  return held_.size();
}

void FakeFilesystem::answer(Op op, uint64_t ino, std::function<void()> work) {
  ++count[op];
  {
    MutexLock lock(mu_);
    auto it = stalled_.find(op);
    if (it != stalled_.end() && (it->second == 0 || it->second == ino)) {
      held_.push_back(std::move(work));
      return;
    }
  }
  work();
}

core::Entry FakeFilesystem::entry_of(const Node& n) {
  core::Entry e;
  e.attr = n.attr;
  e.version = n.content ? n.content->version : 0;
  e.ttl_ms = ttl_ms_;
  return e;
}

core::Attr FakeFilesystem::attr_of(core::Attr opened, const Content& content) {
  MutexLock lock(mu_);
  auto it = nodes_.find(opened.ino);
  if (it != nodes_.end() && it->second.content.get() == &content) return it->second.attr;
  opened.size = content.size;
  return opened;
}

void FakeFilesystem::open(core::Caller, uint64_t ino, OpenFlags how,
                          core::Callback<std::shared_ptr<core::OpenFile>> done) {
  if ((how.write || how.truncate) && !writable_) {
    done(Error{Code::kReadOnly, "read-only"});
    return;
  }
  answer(kOpen, ino, [this, ino, how, done = std::move(done)] {
    std::shared_ptr<core::OpenFile> file;
    {
      MutexLock lock(mu_);
      auto it = nodes_.find(ino);
      if (it != nodes_.end() && it->second.content) {
        if (how.truncate) resize(*it->second.content, &it->second, 0);
        if (how.write) write_fd(*it->second.content);
        file = std::make_shared<FakeOpenFile>(*this, it->second.attr, it->second.content, how.write,
                                              fail_backing_);
      }
    }
    if (file) {
      done(std::move(file));
    } else {
      done(Error{Code::kNotFound, "no such inode"});
    }
  });
}

void FakeFilesystem::read(std::shared_ptr<core::OpenFile> file, int64_t offset, size_t length,
                          core::Callback<core::ReadReply> done) {
  const uint64_t ino = file->ino();
  answer(kRead, ino, [file = std::move(file), offset, length, done = std::move(done)] {
    Content& c = *static_cast<FakeOpenFile&>(*file).content;
    iovec v{nullptr, 0};
    const int fd = c.write_fd >= 0 ? c.write_fd.load() : c.fd.get();
    if (fd < 0) {
      if (offset < c.size) {
        v.iov_base = c.bytes.data() + offset;
        v.iov_len = std::min(length, c.bytes.size() - static_cast<size_t>(offset));
      }
      done(core::ReadReply(&v, 1));
      return;
    }
    static thread_local std::vector<char> buffer(1 << 20);
    const ssize_t n = ::pread(fd, buffer.data(), length, offset);
    if (n < 0) {
      done(errno_error(errno, "pread"));
      return;
    }
    v = {buffer.data(), static_cast<size_t>(n)};
    done(core::ReadReply(&v, 1));
  });
}

void FakeFilesystem::getxattr(uint64_t ino, std::string name, core::Callback<std::string> done) {
  {
    MutexLock lock(mu_);
    const auto& all = nodes_[ino].xattrs;
    if (auto it = all.find(name); it != all.end()) {
      const std::string value = it->second;
      lock.unlock();
      done(value);
      return;
    }
  }
  if (name == "user.s3cache.size") {
    done(std::string("123"));
  } else {
    done(Error{Code::kNotFound, name});
  }
}

void FakeFilesystem::listxattr(uint64_t, core::Callback<std::vector<std::string>> done) {
  done(std::vector<std::string>{"user.s3cache.etag", "user.s3cache.size"});
}

void FakeFilesystem::lookup(core::Caller, uint64_t parent, std::string_view name,
                            core::Callback<core::LookupReply> done) {
  answer(kLookup, parent, [this, parent, name = std::string(name), done = std::move(done)] {
    core::LookupReply reply;
    {
      MutexLock lock(mu_);
      auto& children = nodes_[parent].children;
      auto it = children.find(name);
      reply.found = it != children.end();
      if (reply.found) reply.entry = entry_of(nodes_[it->second]);
      reply.ttl_ms = ttl_ms_;
    }
    done(reply);
  });
}

void FakeFilesystem::getattr(core::Caller, uint64_t ino, core::Callback<core::Entry> done) {
  answer(kGetattr, ino, [this, ino, done = std::move(done)] {
    core::Entry e;
    {
      MutexLock lock(mu_);
      auto it = nodes_.find(ino);
      if (it != nodes_.end()) e = entry_of(it->second);
    }
    if (e.attr.ino == 0) {
      done(Error{Code::kNotFound, "no such inode"});
    } else {
      done(e);
    }
  });
}

Result<std::shared_ptr<core::DirHandle>> FakeFilesystem::opendir(uint64_t ino) {
  auto d = std::make_shared<FakeDir>();
  d->ino = ino;
  return std::shared_ptr<core::DirHandle>(d);
}

void FakeFilesystem::readdir(std::shared_ptr<core::DirHandle> dir, uint64_t cookie, bool plus,
                             std::shared_ptr<core::DirSink> sink, core::Callback<bool> done) {
  const uint64_t ino = static_cast<FakeDir&>(*dir).ino;
  // Children in order of their ids, which are the cookies (ids grow): an id that is gone resumes at its
  // place.
  answer(kReaddir, ino, [this, ino, cookie, plus, sink, done = std::move(done)] {
    std::map<uint64_t, std::pair<std::string, core::Entry>> items;
    uint64_t parent = 1;
    {
      MutexLock lock(mu_);
      Node& n = nodes_[ino];
      parent = n.parent;
      for (auto& [name, child] : n.children) items[child] = {name, entry_of(nodes_[child])};
    }
    bool more = false;
    // "." and ".." have cookies no id can have.
    constexpr uint64_t kDot = (1ull << 62) + 1, kDotDot = (1ull << 62) + 2;
    if (cookie == 0) more = !sink->add({".", ino, kDot, DT_DIR, nullptr});
    if (!more && (cookie == 0 || cookie == kDot)) more = !sink->add({"..", parent, kDotDot, DT_DIR, nullptr});
    const uint64_t after = cookie >= kDot ? 0 : cookie;
    for (auto it = items.upper_bound(after); !more && it != items.end(); ++it) {
      const core::Entry& e = it->second.second;
      core::DirItem item;
      item.name = it->second.first;
      item.ino = item.cookie = it->first;
      item.d_type = unknown_types_ ? 0u : IFTODT(e.attr.mode);
      item.entry = plus && !unknown_types_ ? &e : nullptr;
      more = !sink->add(item);
    }
    done(more);
  });
}

void FakeFilesystem::readlink(uint64_t ino, core::Callback<std::string> done) {
  std::string target;
  {
    MutexLock lock(mu_);
    target = nodes_[ino].target;
  }
  done(target);
}

}  // namespace s3cache::fuse
