// The writing half: contents to the drafts, names and attributes to the mutations.
#include <utility>

#include "core/filesystem_impl.h"

namespace s3cache::core {

namespace {

Draft* draft_of(const std::shared_ptr<OpenFile>& file) {
  return file ? static_cast<FileHandle&>(*file).draft().get() : nullptr;
}

Error not_writable() { return {Code::kInvalid, "the file is not open for writing"}; }

}  // namespace

// --- opens

Result<std::shared_ptr<OpenFile>> FilesystemImpl::writable_handle(uint64_t ino, bool truncate) {
  auto inode = inodes_.get(ino);
  if (!inode.ok()) return Error{Code::kStale, inode.error().message};
  if (inode->kind == meta::Kind::kDirectory)
    return Error{Code::kIsDirectory, inode->name + " is a directory"};
  if (inode->kind != meta::Kind::kFile) return Error{Code::kInvalid, inode->name + " is no regular file"};
  const uint64_t version = version_of(*inode);
  auto draft = drafts_.open(ino, version, false, false);
  std::shared_ptr<OpenFile> file = handle(ino, version, nullptr, draft);
  if (truncate) {
    if (Status s = drafts_.truncate(draft, 0); !s.ok()) return s.error();
  }
  return file;
}

void FilesystemImpl::open_to_write(uint64_t ino, OpenFlags flags, const OpenDone& done) {
  // Mode, owner and kept headers go up again with the bytes: they have to be known before anything changes.
  names_->ext(ino, [this, ino, flags, done](const Result<meta::Ext>& known) {
    if (!known.ok()) return done(known.error());
    done(writable_handle(ino, flags.truncate));
  });
}

void FilesystemImpl::create(Caller caller, uint64_t parent, std::string name, NewNode node, bool exclusive,
                            OpenFlags flags, Callback<Created> done) {
  mutations_->create(
      parent, std::move(name), node, exclusive,
      [this, caller, exclusive, flags, done = std::move(done)](Result<Mutations::NewFile> made) {
        if (!made.ok()) return done(made.error());
        const uint64_t ino = made->ino;
        if (!made->existed) {
          const uint64_t version = made->entry.version;
          auto draft = drafts_.open_created(ino, version, exclusive);
          return done(Created{made->entry, handle(ino, version, nullptr, std::move(draft))});
        }
        const auto opened = [this, ino, done](Result<std::shared_ptr<OpenFile>> file) {
          if (!file.ok()) return done(file.error());
          entry(ino, *file, [file = *file, done](Result<Entry> now) {
            if (!now.ok()) return done(now.error());
            done(Created{*now, file});
          });
        };
        open(caller, ino, flags, opened);
      });
}

// --- bytes

void FilesystemImpl::write(std::shared_ptr<OpenFile> file, int64_t offset, std::span<const std::byte> data,
                           Callback<size_t> done) {
  if (!draft_of(file)) return done(not_writable());
  const auto& draft = static_cast<FileHandle&>(*file).draft();
  drafts_.write(file, draft, offset, data, std::move(done));
}

void FilesystemImpl::append(std::shared_ptr<OpenFile> file, std::span<const std::byte> data,
                            Callback<size_t> done) {
  if (!draft_of(file)) return done(not_writable());
  const auto& draft = static_cast<FileHandle&>(*file).draft();
  drafts_.write(file, draft, std::nullopt, data, std::move(done));
}

void FilesystemImpl::fallocate(std::shared_ptr<OpenFile> file, int mode, int64_t offset, int64_t length,
                               Callback<void> done) {
  if (!draft_of(file)) return done(not_writable());
  done(drafts_.allocate(static_cast<FileHandle&>(*file).draft(), mode, offset, length));
}

void FilesystemImpl::flush(std::shared_ptr<OpenFile> file, Callback<void> done) {
  if (!draft_of(file)) return done({});
  drafts_.flush(static_cast<FileHandle&>(*file).draft(), true, std::move(done));
}

void FilesystemImpl::fsync(std::shared_ptr<OpenFile> file, bool, Callback<void> done) {
  if (!draft_of(file)) return drafts_.fsync(file->ino(), std::move(done));
  drafts_.flush(static_cast<FileHandle&>(*file).draft(), false, std::move(done));
}

void FilesystemImpl::fsync_directory(uint64_t, Callback<void> done) { mutations_->settle(std::move(done)); }

void FilesystemImpl::sync_all(Callback<void> done) {
  drafts_.save_all([this, done = std::move(done)](const Status& saved) {
    mutations_->settle([saved, done](const Status& settled) { done(saved.ok() ? settled : saved); });
  });
}

void FilesystemImpl::retry_now() {
  drafts_.retry_now();
  mutations_->retry_now();
}

// A whole file of at least a MiB into a new or empty one; the kernel reads and writes the others. Smaller
// ones are a GET and a PUT at most, and cached in both places afterwards.
void FilesystemImpl::copy_range(std::shared_ptr<OpenFile> from, int64_t from_offset,
                                std::shared_ptr<OpenFile> to, int64_t to_offset, int64_t length,
                                Callback<size_t> done) {
  constexpr int64_t kSmallest = 1 << 20;
  if (!from || !draft_of(to)) return done(not_writable());
  auto source = inodes_.get(from->ino());
  const bool whole = source.ok() && version_of(*source) == from->version() &&
                     source->source != meta::AttrSource::kLocal && !source->etag.empty() &&
                     !drafts_.has_draft(from->ino()) && from_offset == 0 && to_offset == 0 &&
                     source->size == length;
  auto key = whole && length >= kSmallest
                 ? inodes_.key_of(from->ino(), *source)
                 : Result<std::string>(Error{Code::kUnsupported, "a part of a file"});
  if (!key.ok()) return done(Error{Code::kUnsupported, key.error().message});
  drafts_.copy_from(static_cast<FileHandle&>(*to).draft(), {std::move(*key), source->etag}, length,
                    [length, done = std::move(done)](const Status& copied) {
                      if (!copied.ok()) return done(copied.error());
                      done(static_cast<size_t>(length));
                    });
}

// --- attributes

void FilesystemImpl::resize(uint64_t ino, const std::shared_ptr<OpenFile>& file, int64_t size,
                            Callback<void> done) {
  if (draft_of(file)) return done(drafts_.truncate(static_cast<FileHandle&>(*file).draft(), size));
  // truncate(2) on a path: nobody closes anything afterwards, so it is saved at once.
  const bool alone = !drafts_.writing(ino);
  names_->ext(ino, [this, ino, size, alone, done = std::move(done)](const Result<meta::Ext>& known) {
    if (!known.ok()) return done(known.error());
    auto opened = writable_handle(ino, false);
    if (!opened.ok()) return done(opened.error());
    const auto& draft = static_cast<FileHandle&>(**opened).draft();
    if (Status s = drafts_.truncate(draft, size); !s.ok()) return done(s);
    if (!alone) return done({});
    drafts_.flush(draft, false, [file = *opened, done](const Status& saved) { done(saved); });
  });
}

void FilesystemImpl::entry(uint64_t ino, const std::shared_ptr<OpenFile>& file, const Callback<Entry>& done) {
  auto inode = inodes_.get(ino);
  if (!inode.ok() && file) {  // unlinked while it is open
    Entry now;
    now.attr = file->attr();
    now.version = file->version();
    return done(now);
  }
  if (!inode.ok()) return done(inode.error());
  names_->getattr({}, ino, done);
}

void FilesystemImpl::setattr(uint64_t ino, std::shared_ptr<OpenFile> file, SetAttr what,
                             Callback<Entry> done) {
  const bool others = what.mode || what.uid || what.gid || what.atime_ns || what.mtime_ns || what.ctime_ns;
  const auto rest = [this, ino, file, what, others, done](const Status& resized) {
    if (!resized.ok()) return done(resized.error());
    if (!others || (file && !inodes_.get(ino).ok())) return entry(ino, file, done);
    mutations_->setattr(ino, what, done);
  };
  if (!what.size) return rest({});
  resize(ino, file, *what.size, rest);
}

// --- names

void FilesystemImpl::mkdir(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) {
  mutations_->mkdir(parent, std::move(name), node, std::move(done));
}
void FilesystemImpl::mknod(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) {
  mutations_->mknod(parent, std::move(name), node, std::move(done));
}
void FilesystemImpl::symlink(uint64_t parent, std::string name, std::string target, NewNode node,
                             Callback<Entry> done) {
  mutations_->symlink(parent, std::move(name), std::move(target), node, std::move(done));
}
void FilesystemImpl::unlink(uint64_t parent, std::string name, Callback<void> done) {
  mutations_->unlink(parent, std::move(name), std::move(done));
}
void FilesystemImpl::rmdir(uint64_t parent, std::string name, Callback<void> done) {
  mutations_->rmdir(parent, std::move(name), std::move(done));
}
void FilesystemImpl::rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name,
                            unsigned flags, Callback<void> done) {
  mutations_->rename(parent, std::move(name), new_parent, std::move(new_name), flags, std::move(done));
}
void FilesystemImpl::setxattr(uint64_t ino, std::string name, std::string value, int flags,
                              Callback<void> done) {
  mutations_->setxattr(ino, std::move(name), std::move(value), flags, std::move(done));
}
void FilesystemImpl::removexattr(uint64_t ino, std::string name, Callback<void> done) {
  mutations_->removexattr(ino, std::move(name), std::move(done));
}

}  // namespace s3cache::core
