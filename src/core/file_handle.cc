#include <sys/stat.h>

#include <utility>

#include "core/filesystem_impl.h"

namespace s3cache::core {

FileHandle::FileHandle(ContentTable& contents, DraftTable& drafts, Inodes& inodes,
                       const NamespaceOptions& options, uint64_t ino, uint64_t version,
                       std::shared_ptr<Content> content, std::shared_ptr<Draft> draft)
    : contents_(contents),
      drafts_(drafts),
      inodes_(inodes),
      options_(options),
      ino_(ino),
      version_(version),
      draft_(std::move(draft)),
      content_(std::move(content)) {
  if (content_) content_->add_handle();
  if (!draft_) drafts_.reader_opened(ino_);
}

FileHandle::~FileHandle() {
  std::shared_ptr<Content> last;
  {
    MutexLock lock(mu_);
    last.swap(content_);
  }
  if (last) last->drop_handle();
  last.reset();
  if (draft_) {
    drafts_.close(draft_);
  } else {
    drafts_.reader_closed(ino_);
  }
}

Result<std::shared_ptr<Content>> FileHandle::content() const {
  {
    MutexLock lock(mu_);
    if (content_ && !content_->superseded()) return content_;
  }
  auto now = contents_.acquire(ino_);
  if (!now.ok()) return Error{Code::kStale, now.error().message};
  if ((*now)->id().version != version_)
    return Error{Code::kStale, (*now)->id().key + " was replaced on the server"};
  (*now)->add_handle();
  std::shared_ptr<Content> old;
  {
    MutexLock lock(mu_);
    old = std::exchange(content_, *now);
  }
  if (old) old->drop_handle();
  return now;
}

Attr FileHandle::attr() const {
  Attr attr;
  {
    MutexLock lock(mu_);
    if (content_) attr = content_->attr();
  }
  const auto draft = drafts_.active(ino_, version_);
  auto inode = inodes_.get(ino_);
  if (inode.ok() && version_of(*inode) == version_) {
    attr = entry_of(ino_, *inode, options_).attr;
  } else if (draft_ && draft_->unlinked()) {
    attr.ino = ino_;
    attr.nlink = 0;
    if (attr.mode == 0) attr.mode = S_IFREG | options_.default_file_mode;
  }
  if (draft) attr.size = draft->size();
  return attr;
}

bool FileHandle::sealed() const {
  if (draft_ || drafts_.writing(ino_)) return false;
  MutexLock lock(mu_);
  return content_ && content_->sealed() && !content_->superseded();
}

Result<int> FileHandle::backing_fd() {
  auto now = content();
  if (!now.ok()) return now.error();
  auto fd = (*now)->file()->open_readonly();
  if (!fd.ok()) {
    // Gone, or of another size: a longer file would show bytes behind the object's end, a shorter one zeros.
    if (fd.is(Code::kNotFound) || fd.is(Code::kCorrupt)) contents_.damaged(**now);
    return fd.error();
  }
  return fd->release();
}

void FileHandle::read(int64_t offset, size_t length, Callback<ReadReply> done, bool again) {
  if (auto draft = drafts_.active(ino_, version_)) {
    auto self = shared_from_this();
    return draft->read(offset, length,
                       [self, offset, length, done = std::move(done)](Result<ReadReply> reply) {
                         if (reply.is(Code::kBusy)) return self->read(offset, length, done);
                         done(std::move(reply));
                       });
  }
  if (draft_ && draft_->fresh) return done(ReadReply{});  // new, and nothing was written
  auto now = content();
  if (!now.ok()) return done(now.error());
  // Begun in between: the content may be of before it.
  if (!again && drafts_.active(ino_, version_)) return read(offset, length, std::move(done), false);
  Content& content = **now;
  if (again) return content.read(offset, length, std::move(done));
  auto self = shared_from_this();
  content.read(offset, length,
               [self, held = *now, offset, length, done = std::move(done)](Result<ReadReply> reply) {
                 // A local writer took the file over in between: the bytes are its draft's.
                 if (!reply.ok() && held->superseded()) return self->read(offset, length, done, true);
                 done(reply);
               });
}

}  // namespace s3cache::core
