// FilesystemImpl: the rooms of core put together; opens, reads and changes find their way to them here.
//
// Threads: as Filesystem. Owns every room; they are destroyed from the bottom of the member list up.
// REQUIRES, at the end: what make_filesystem.h says.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/content_table.h"
#include "core/draft_table.h"
#include "core/janitor.h"
#include "core/make_filesystem.h"
#include "core/mutations.h"
#include "core/scrubber.h"

namespace s3cache::core {

// In kState as long as a mount that changes things lives. Left behind: it was killed.
inline constexpr std::string_view kWriting = "fs/writing";

// One open of one version. Its bytes are a Draft's while this mount changes them, else a Content's; which
// Content that is may change when a draft was saved. Threads: any.
class FileHandle : public OpenFile, public std::enable_shared_from_this<FileHandle> {
 public:
  // `content`: null for a file that has none yet. `draft`: null for a read-only handle.
  FileHandle(ContentTable& contents, DraftTable& drafts, Inodes& inodes, const NamespaceOptions& options,
             uint64_t ino, uint64_t version, std::shared_ptr<Content> content, std::shared_ptr<Draft> draft);
  ~FileHandle() override;

  uint64_t ino() const override { return ino_; }
  uint64_t version() const override { return version_; }
  Attr attr() const override;
  bool sealed() const override;
  Result<int> backing_fd() override;
  bool writable() const override { return draft_ != nullptr; }

  void read(int64_t offset, size_t length, Callback<ReadReply> done, bool again = false);
  const std::shared_ptr<Draft>& draft() const { return draft_; }

 private:
  // The Content that has the bytes now.
  Result<std::shared_ptr<Content>> content() const;

  ContentTable& contents_;
  DraftTable& drafts_;
  Inodes& inodes_;
  const NamespaceOptions& options_;
  const uint64_t ino_;
  const uint64_t version_;
  const std::shared_ptr<Draft> draft_;
  mutable Mutex mu_;
  mutable std::shared_ptr<Content> content_ GUARDED_BY(mu_);
};

class FilesystemImpl : public Filesystem {
 public:
  FilesystemImpl(const FilesystemParts& parts, const FilesystemOptions& options, uint64_t distrust,
                 uint64_t first_fid);
  ~FilesystemImpl() override;

  Namespace& names() override { return *names_; }
  void open(Caller caller, uint64_t ino, OpenFlags flags, Callback<std::shared_ptr<OpenFile>> done) override;
  void read(std::shared_ptr<OpenFile> file, int64_t offset, size_t length, Callback<ReadReply> done) override;
  FsStat statfs() override;
  Stats stats() override;
  void getxattr(uint64_t ino, std::string name, Callback<std::string> done) override;
  void listxattr(uint64_t ino, Callback<std::vector<std::string>> done) override;

  // filesystem_changes.cc
  void create(Caller caller, uint64_t parent, std::string name, NewNode node, bool exclusive, OpenFlags flags,
              Callback<Created> done) override;
  void write(std::shared_ptr<OpenFile> file, int64_t offset, std::span<const std::byte> data,
             Callback<size_t> done) override;
  void append(std::shared_ptr<OpenFile> file, std::span<const std::byte> data,
              Callback<size_t> done) override;
  void fallocate(std::shared_ptr<OpenFile> file, int mode, int64_t offset, int64_t length,
                 Callback<void> done) override;
  void flush(std::shared_ptr<OpenFile> file, Callback<void> done) override;
  void fsync(std::shared_ptr<OpenFile> file, bool data_only, Callback<void> done) override;
  void fsync_directory(uint64_t ino, Callback<void> done) override;
  void sync_all(Callback<void> done) override;
  void retry_now() override;
  void copy_range(std::shared_ptr<OpenFile> from, int64_t from_offset, std::shared_ptr<OpenFile> to,
                  int64_t to_offset, int64_t length, Callback<size_t> done) override;
  void setattr(uint64_t ino, std::shared_ptr<OpenFile> file, SetAttr what, Callback<Entry> done) override;
  void mkdir(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) override;
  void mknod(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) override;
  void symlink(uint64_t parent, std::string name, std::string target, NewNode node,
               Callback<Entry> done) override;
  void unlink(uint64_t parent, std::string name, Callback<void> done) override;
  void rmdir(uint64_t parent, std::string name, Callback<void> done) override;
  void rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name, unsigned flags,
              Callback<void> done) override;
  void setxattr(uint64_t ino, std::string name, std::string value, int flags, Callback<void> done) override;
  void removexattr(uint64_t ino, std::string name, Callback<void> done) override;

 private:
  using OpenDone = Callback<std::shared_ptr<OpenFile>>;
  std::shared_ptr<FileHandle> handle(uint64_t ino, uint64_t version, std::shared_ptr<Content> content,
                                     std::shared_ptr<Draft> draft);
  void open_current(uint64_t ino, OpenFlags flags, const OpenDone& done);
  void open_to_write(uint64_t ino, OpenFlags flags, const OpenDone& done);
  Result<std::shared_ptr<OpenFile>> writable_handle(uint64_t ino, bool truncate);
  void resize(uint64_t ino, const std::shared_ptr<OpenFile>& file, int64_t size, Callback<void> done);
  void entry(uint64_t ino, const std::shared_ptr<OpenFile>& file, const Callback<Entry>& done);
  Result<std::string> own_xattr_value(const meta::Inode& inode, uint64_t ino, const std::string& name);
  std::optional<Result<std::string>> own_xattr(uint64_t ino, const std::string& name);

  const FilesystemOptions options_;
  s3::S3Client& s3_;
  // Destroyed from the bottom up: names, tables, fetcher first; units last.
  BufferPool pool_;
  WorkerPool workers_;
  cache::FdCache fds_;
  cache::Budget budget_;
  CacheSpace space_;
  Inodes inodes_;
  Fetcher fetcher_;
  ContentTable contents_;
  InodeQueue queue_;
  DraftTable drafts_;
  Scrubber scrubber_;
  std::unique_ptr<Namespace> names_;
  std::unique_ptr<Mutations> mutations_;
  std::unique_ptr<Janitor> janitor_;
};

}  // namespace s3cache::core
