// FakeFilesystem: core's contracts in memory, for tests of the FUSE edge.
//
// Files have versions; a version's bytes lie in a real temporary file, so that sealed ones can be handed to
// the kernel. Answers can be held back: stall(op) keeps every callback of that kind until unstall(). Threads:
// every method from any thread.
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
  enum Op { kLookup, kGetattr, kOpen, kRead, kReaddir, kOps };

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
  Result<uint64_t> next_id() { return ++last_id_; }

  // Delays. stall(op, ino): only that inode (for LOOKUP: that parent); 0: all.
  void stall(Op op, uint64_t ino = 0);
  void unstall();  // runs everything held back, on this thread
  size_t held();

  std::atomic<int> count[kOps] = {};
  std::atomic<int> open_files{0};
  std::atomic<int> backing_fds{0};

  // core::Filesystem
  core::Namespace& names() override { return *this; }
  void open(core::Caller, uint64_t ino, OpenFlags,
            core::Callback<std::shared_ptr<core::OpenFile>> done) override;
  void read(std::shared_ptr<core::OpenFile> file, int64_t offset, size_t length,
            core::Callback<core::ReadReply> done) override;
  core::FsStat statfs() override { return {4096, 1000, 500, 100, 50}; }
  void getxattr(uint64_t ino, std::string name, core::Callback<std::string> done) override;
  void listxattr(uint64_t ino, core::Callback<std::vector<std::string>> done) override;

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

 private:
  struct Node {
    uint64_t parent = 1;
    core::Attr attr;
    std::string target;
    std::shared_ptr<Content> content;
    std::map<std::string, uint64_t> children;
  };
  core::Entry entry_of(const Node& n) REQUIRES(mu_);
  std::shared_ptr<Content> make_content(const std::string& bytes, bool sealed) EXCLUDES(mu_);
  uint64_t add(uint64_t parent, const std::string& name, Node node) EXCLUDES(mu_);
  // Runs `work` now, or keeps it if `op` on `ino` is stalled.
  void answer(Op op, uint64_t ino, std::function<void()> work) EXCLUDES(mu_);

  const std::string backing_dir_;
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
