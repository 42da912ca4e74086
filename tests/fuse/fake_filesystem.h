// FakeFilesystem: core's contracts in memory, for tests of the FUSE edge.
//
// Files have versions; a version's bytes lie in a real temporary file, so that sealed ones can be handed to
// the kernel. With set_writable() it takes changes too: writes go into the version's file in place. Answers
// can be held back: stall(op) keeps every callback of that kind until unstall(); a stalled change has not
// happened yet. Threads: every method from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/sync.h"
#include "core/filesystem.h"

namespace s3cache::fuse {

class FakeFilesystem : public core::Filesystem, public core::Namespace {
 public:
  enum Op {
    kLookup,
    kGetattr,
    kOpen,
    kRead,
    kReaddir,
    kWrite,  // and append, fallocate, copy_range
    kFlush,  // and fsync
    kNames,  // everything that changes names
    kSetattr,
    kOps
  };

  explicit FakeFilesystem(std::string backing_dir);
  ~FakeFilesystem() override;

  // Contents.
  uint64_t add_dir(uint64_t parent, const std::string& name);
  uint64_t add_file(uint64_t parent, const std::string& name, const std::string& bytes, bool sealed);
  uint64_t add_link(uint64_t parent, const std::string& name, const std::string& target);
  // A file over an existing backing file, kept open for reads.
  uint64_t add_backed_file(uint64_t parent, const std::string& name, const std::string& backing_path,
                           bool sealed);
  void replace(uint64_t ino, const std::string& bytes, bool sealed);
  void seal(uint64_t ino);
  void unseal(uint64_t ino);  // as after an eviction by unlink
  void remove(uint64_t parent, const std::string& name);
  void set_listener(core::ChangeListener* listener) { listener_ = listener; }
  void set_ttl_ms(int64_t ttl) { ttl_ms_ = ttl; }
  void fail_backing(bool fail) { fail_backing_ = fail; }
  void set_unknown_types(bool on) { unknown_types_ = on; }
  void set_writable(bool on) { writable_ = on; }
  Result<uint64_t> next_id() { return ++last_id_; }
  // As another machine would: the kernel is not told.
  bool move_behind(uint64_t parent, const std::string& name, const std::string& new_name) {
    return move(parent, name, parent, new_name, 0).ok();
  }
  std::string content(uint64_t ino);                          // what is stored
  uint64_t ino_of(uint64_t parent, const std::string& name);  // 0: absent

  // Delays. stall(op, ino): only that inode (for LOOKUP: that parent); 0: all.
  void stall(Op op, uint64_t ino = 0);
  void unstall();  // runs everything held back, on this thread
  size_t held();

  std::atomic<int> count[kOps] = {};
  std::atomic<int> open_files{0};
  std::atomic<int> backing_fds{0};
  std::atomic<int> appends{0};

  // core::Filesystem
  core::Namespace& names() override { return *this; }
  void open(core::Caller, uint64_t ino, OpenFlags,
            core::Callback<std::shared_ptr<core::OpenFile>> done) override;
  void read(std::shared_ptr<core::OpenFile> file, int64_t offset, size_t length,
            core::Callback<core::ReadReply> done) override;
  core::FsStat statfs() override { return {4096, 1000, 500, 100, 50}; }
  void getxattr(uint64_t ino, std::string name, core::Callback<std::string> done) override;
  void listxattr(uint64_t ino, core::Callback<std::vector<std::string>> done) override;

  void create(core::Caller, uint64_t parent, std::string name, core::NewNode node, bool exclusive, OpenFlags,
              core::Callback<core::Created> done) override;
  void write(std::shared_ptr<core::OpenFile> file, int64_t offset, std::span<const std::byte> data,
             core::Callback<size_t> done) override;
  void append(std::shared_ptr<core::OpenFile> file, std::span<const std::byte> data,
              core::Callback<size_t> done) override;
  void fallocate(std::shared_ptr<core::OpenFile> file, int mode, int64_t offset, int64_t length,
                 core::Callback<void> done) override;
  void flush(std::shared_ptr<core::OpenFile> file, core::Callback<void> done) override;
  void fsync(std::shared_ptr<core::OpenFile> file, bool data_only, core::Callback<void> done) override;
  void fsync_directory(uint64_t ino, core::Callback<void> done) override;
  void copy_range(std::shared_ptr<core::OpenFile> from, int64_t from_offset,
                  std::shared_ptr<core::OpenFile> to, int64_t to_offset, int64_t length,
                  core::Callback<size_t> done) override;
  void setattr(uint64_t ino, std::shared_ptr<core::OpenFile> file, core::SetAttr what,
               core::Callback<core::Entry> done) override;
  void mkdir(uint64_t parent, std::string name, core::NewNode node,
             core::Callback<core::Entry> done) override;
  void mknod(uint64_t parent, std::string name, core::NewNode node,
             core::Callback<core::Entry> done) override;
  void symlink(uint64_t parent, std::string name, std::string target, core::NewNode node,
               core::Callback<core::Entry> done) override;
  void unlink(uint64_t parent, std::string name, core::Callback<void> done) override;
  void rmdir(uint64_t parent, std::string name, core::Callback<void> done) override;
  void rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name, unsigned flags,
              core::Callback<void> done) override;
  void setxattr(uint64_t ino, std::string name, std::string value, int flags,
                core::Callback<void> done) override;
  void removexattr(uint64_t ino, std::string name, core::Callback<void> done) override;

  // core::Namespace
  void lookup(core::Caller, uint64_t parent, std::string_view name,
              core::Callback<core::LookupReply> done) override;
  void getattr(core::Caller, uint64_t ino, core::Callback<core::Entry> done) override;
  void revalidate(uint64_t ino, core::Callback<core::Entry> done) override { getattr({}, ino, done); }
  void expire(uint64_t) override {}
  Result<std::shared_ptr<core::DirHandle>> opendir(uint64_t ino) override;
  void readdir(std::shared_ptr<core::DirHandle> dir, uint64_t cookie, bool plus,
               std::shared_ptr<core::DirSink> sink, core::Callback<bool> done) override;
  void readlink(uint64_t ino, core::Callback<std::string> done) override;
  void ext(uint64_t, core::Callback<meta::Ext> done) override { done(meta::Ext{}); }
  void opened(core::Caller, uint64_t) override {}
  core::NamespaceStats stats() const override { return {}; }

  struct Content;  // one version
  core::Attr attr_of(core::Attr opened, const Content& content) EXCLUDES(mu_);

 private:
  struct Node {
    uint64_t parent = 1;
    core::Attr attr;
    std::string target;
    std::shared_ptr<Content> content;
    std::map<std::string, uint64_t> children;
    std::map<std::string, std::string> xattrs;
  };
  core::Entry entry_of(const Node& n) REQUIRES(mu_);
  std::shared_ptr<Content> make_content(const std::string& bytes, bool sealed) EXCLUDES(mu_);
  uint64_t add(uint64_t parent, const std::string& name, Node node) EXCLUDES(mu_);
  // Runs `work` now, or keeps it if `op` on `ino` is stalled.
  void answer(Op op, uint64_t ino, std::function<void()> work) EXCLUDES(mu_);

  int write_fd(Content& c) REQUIRES(mu_);
  void resize(Content& c, Node* node, int64_t size) REQUIRES(mu_);
  Node* node_of(uint64_t ino, const Content& c) REQUIRES(mu_);
  size_t store(core::OpenFile& file, int64_t offset, std::span<const std::byte> data) EXCLUDES(mu_);
  // A new node; kExists or kNotFound.
  Result<uint64_t> make(uint64_t parent, const std::string& name, core::NewNode node,
                        const std::string& target) EXCLUDES(mu_);
  void made(uint64_t parent, std::string name, core::NewNode node, std::string target,
            core::Callback<core::Entry> done);
  Status take_away(uint64_t parent, const std::string& name, bool directory) REQUIRES(mu_);
  Status move(uint64_t parent, const std::string& name, uint64_t new_parent, const std::string& new_name,
              unsigned flags) EXCLUDES(mu_);

  const std::string backing_dir_;
  std::atomic<bool> writable_{false};
  core::ChangeListener* listener_ = nullptr;
  std::atomic<int64_t> ttl_ms_{60'000};
  std::atomic<bool> fail_backing_{false};
  std::atomic<bool> unknown_types_{false};
  std::atomic<uint64_t> last_id_{1};
  std::atomic<uint64_t> last_version_{100};
  Mutex mu_;
  std::map<uint64_t, Node> nodes_ GUARDED_BY(mu_);
  std::map<Op, uint64_t> stalled_ GUARDED_BY(mu_);
  std::vector<std::function<void()>> held_ GUARDED_BY(mu_);
};

}  // namespace s3cache::fuse
