// FakeFilesystem's changes of contents.
#include <fcntl.h>
#include <sys/stat.h>

#include "fuse/fake_file.h"

namespace s3cache::fuse {
namespace {

FakeFilesystem::Content& content_of(core::OpenFile& file) {
  return *static_cast<FakeOpenFile&>(file).content;
}

}  // namespace

int FakeFilesystem::write_fd(Content& c) {
  if (c.write_fd < 0) c.write_fd = ::open(c.path.c_str(), O_RDWR | O_CLOEXEC);
  return c.write_fd;
}

FakeFilesystem::Node* FakeFilesystem::node_of(uint64_t ino, const Content& c) {
  auto it = nodes_.find(ino);
  return it != nodes_.end() && it->second.content.get() == &c ? &it->second : nullptr;
}

void FakeFilesystem::resize(Content& c, Node* node, int64_t size) {
  if (::ftruncate(write_fd(c), size) != 0) return;
  c.size = size;
  c.unsaved = true;
  if (node == nullptr) return;
  node->attr.size = size;
  node->attr.mtime_ns += 1'000'000;
}

std::string FakeFilesystem::content(uint64_t ino) {
  MutexLock lock(mu_);
  auto it = nodes_.find(ino);
  if (it == nodes_.end() || !it->second.content) return "nothing";
  UniqueFd fd(::open(it->second.content->path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string all(static_cast<size_t>(it->second.content->size), '?');
  const ssize_t n = ::pread(fd.get(), all.data(), all.size(), 0);
  all.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return all;
}

size_t FakeFilesystem::store(core::OpenFile& file, int64_t offset, std::span<const std::byte> data) {
  Content& c = content_of(file);
  MutexLock lock(mu_);
  if (offset < 0) offset = c.size;
  const ssize_t n = ::pwrite(write_fd(c), data.data(), data.size(), offset);
  if (n < 0) return 0;
  const int64_t end = offset + n;
  if (end > c.size) c.size = end;
  c.unsaved = true;
  if (Node* node = node_of(file.ino(), c)) {
    node->attr.size = c.size;
    node->attr.mtime_ns += 1'000'000;
  }
  return static_cast<size_t>(n);
}

void FakeFilesystem::write(std::shared_ptr<core::OpenFile> file, int64_t offset,
                           std::span<const std::byte> data, core::Callback<size_t> done) {
  if (!file->writable()) return done(Error{Code::kInvalid, "not open for writing"});
  const uint64_t ino = file->ino();
  const size_t n = store(*file, offset, data);  // the bytes are taken at once, the answer may wait
  answer(kWrite, ino, [n, file, done = std::move(done)] { done(n); });
}

void FakeFilesystem::append(std::shared_ptr<core::OpenFile> file, std::span<const std::byte> data,
                            core::Callback<size_t> done) {
  ++appends;
  const uint64_t ino = file->ino();
  const size_t n = store(*file, -1, data);
  answer(kWrite, ino, [n, file, done = std::move(done)] { done(n); });
}

void FakeFilesystem::fallocate(std::shared_ptr<core::OpenFile> file, int mode, int64_t offset, int64_t length,
                               core::Callback<void> done) {
  if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
    return done(Error{Code::kUnsupported, "mode"});
  answer(kWrite, file->ino(), [this, file, mode, offset, length, done = std::move(done)] {
    {
      Content& c = content_of(*file);
      MutexLock lock(mu_);
      if (::fallocate(write_fd(c), mode, offset, length) != 0) return done(errno_error(errno, "fallocate"));
      c.unsaved = true;
      if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && offset + length > c.size) {
        resize(c, node_of(file->ino(), c), offset + length);
      }
    }
    done({});
  });
}

void FakeFilesystem::flush(std::shared_ptr<core::OpenFile> file, core::Callback<void> done) {
  answer(kFlush, file->ino(), [file, done = std::move(done)] {
    content_of(*file).unsaved = false;
    done({});
  });
}

void FakeFilesystem::fsync(std::shared_ptr<core::OpenFile> file, bool, core::Callback<void> done) {
  flush(std::move(file), std::move(done));
}

void FakeFilesystem::fsync_directory(uint64_t ino, core::Callback<void> done) {
  answer(kFlush, ino, [done = std::move(done)] { done({}); });
}

void FakeFilesystem::copy_range(std::shared_ptr<core::OpenFile> from, int64_t from_offset,
                                std::shared_ptr<core::OpenFile> to, int64_t to_offset, int64_t length,
                                core::Callback<size_t> done) {
  answer(kWrite, to->ino(), [=, this, done = std::move(done)] {
    Content& c = content_of(*from);
    UniqueFd fd(::open(c.path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string bytes(static_cast<size_t>(std::min<int64_t>(length, c.size)), 0);
    const ssize_t n = ::pread(fd.get(), bytes.data(), bytes.size(), from_offset);
    if (n < 0) return done(errno_error(errno, "pread"));
    done(store(*to, to_offset, std::as_bytes(std::span(bytes.data(), static_cast<size_t>(n)))));
  });
}

void FakeFilesystem::setattr(uint64_t ino, std::shared_ptr<core::OpenFile> file, core::SetAttr what,
                             core::Callback<core::Entry> done) {
  if (!writable_) return done(Error{Code::kReadOnly, "read-only"});
  answer(kSetattr, ino, [this, ino, file, what, done = std::move(done)] {
    core::Entry e;
    {
      MutexLock lock(mu_);
      auto it = nodes_.find(ino);
      if (it == nodes_.end()) {  // unlinked and open
        lock.unlock();
        if (file == nullptr) return done(Error{Code::kNotFound, "no such inode"});
        lock.lock();
        if (what.size) resize(content_of(*file), nullptr, *what.size);
        e.attr.ino = ino;
        e.attr.mode = S_IFREG | 0644;
        e.attr.nlink = 0;
        e.attr.size = content_of(*file).size;
        e.version = file->version();
      } else {
        Node& n = it->second;
        if (what.mode) n.attr.mode = (n.attr.mode & S_IFMT) | *what.mode;
        if (what.uid) n.attr.uid = *what.uid;
        if (what.gid) n.attr.gid = *what.gid;
        if (what.size) resize(*n.content, &n, *what.size);
        if (what.mtime_ns) n.attr.mtime_ns = *what.mtime_ns;
        if (what.atime_ns) n.attr.atime_ns = *what.atime_ns;
        e = entry_of(n);
      }
    }
    done(e);
  });
}

}  // namespace s3cache::fuse
