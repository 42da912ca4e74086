// Mutations over a fake bucket, a real store and a DraftHost that does as it is told; crashes on demand.
#pragma once

#include <sys/stat.h>

#include "base/bytes.h"
#include "core/mutations.h"
#include "namespace_fixture.h"
#include "s3/faulty_s3.h"

namespace s3cache::core {

// Drafts without bytes.
class FakeDrafts : public DraftHost {
 public:
  bool has_draft(uint64_t ino) override {
    std::lock_guard lock(mu_);
    return drafts.contains(ino);
  }
  bool attributes_changed(uint64_t ino, Callback<void> done) override {
    {
      std::lock_guard lock(mu_);
      changed.push_back(ino);
      if (!drafts.contains(ino)) return false;
    }
    done({});
    return true;
  }
  void save(uint64_t ino, Callback<void> done) override {
    {
      std::lock_guard lock(mu_);
      saved.push_back(ino);
    }
    if (on_save) return on_save(ino, std::move(done));
    done(Status());
  }
  void unlinked(uint64_t ino) override {
    std::lock_guard lock(mu_);
    unlinked_.push_back(ino);
  }
  bool in_use(uint64_t ino) override { return has_draft(ino); }
  bool needs_object(uint64_t ino, std::function<void()> gone) override {
    std::lock_guard lock(mu_);
    if (!needed.contains(ino)) return false;
    gone_[ino] = std::move(gone);
    return true;
  }
  bool may_be_on_s3(uint64_t) override { return false; }
  void close(uint64_t ino) {
    std::function<void()> gone;
    {
      std::lock_guard lock(mu_);
      needed.erase(ino);
      drafts.erase(ino);
      gone = std::move(gone_[ino]);
    }
    if (gone) gone();
  }
  void open(uint64_t ino) {
    std::lock_guard lock(mu_);
    drafts.insert(ino);
  }
  std::set<uint64_t> drafts, needed;
  std::vector<uint64_t> changed, saved, unlinked_;
  std::function<void(uint64_t, Callback<void>)> on_save;

 private:
  std::mutex mu_;
  std::map<uint64_t, std::function<void()>> gone_;
};

class MutationsFixture : public NamespaceFixture {
 public:
  explicit MutationsFixture(UploadOptions uploads = {}, NamespaceOptions opts = {})
      : NamespaceFixture(opts), upload_options(std::move(uploads)) {
    start_mutations();
  }
  ~MutationsFixture() {
    faulty->shutdown();
    s3.shutdown();
    mutations.reset();
  }

  void start_mutations() {
    queue = std::make_unique<InodeQueue>();
    mutations =
        Mutations::make(*inodes, *names, *faulty, drafts, *queue, &heard, clock, options, upload_options);
    mutations->replay();
  }
  // The process dies: what S3 was not asked yet it never hears, nobody hears its answers, and the disk keeps
  // what was applied until then.
  void crash() {
    REQUIRE(store->flush().ok());
    const auto disk = root / "meta.lmdb", kept = root / "kept.lmdb";
    std::filesystem::copy_file(disk, kept, std::filesystem::copy_options::overwrite_existing);
    faulty->shutdown();
    REQUIRE(s3.wait_idle());
    mutations.reset();
    unmount();
    std::filesystem::copy_file(kept, disk, std::filesystem::copy_options::overwrite_existing);
    mount();
    drafts.drafts.clear();
    faulty = std::make_unique<s3::FaultyS3>(s3);
    start_mutations();
  }

  static NewNode node(uint32_t mode) { return {mode, 1000, 100, 0}; }

  Result<Mutations::NewFile> create(uint64_t parent, const std::string& name, bool exclusive = false,
                                    bool draft = true) {
    auto made = await(start<Mutations::NewFile>(
        [&](auto done) { mutations->create(parent, name, node(0644), exclusive, done); }));
    if (made.ok() && draft) drafts.open(made->ino);
    return made;
  }
  // What the draft's upload does.
  void upload(uint64_t ino, const std::string& data) {
    const auto key = inodes->key_of(ino);
    REQUIRE(key.ok());
    const std::string etag = s3.put(*key, data, object_headers(*inodes->get(ino), {}, *key, upload_options));
    REQUIRE(inodes
                ->update(ino,
                         [&](meta::Inode& inode, meta::Batch&) {
                           inode.etag = etag;
                           inode.size = inode.base_len = static_cast<int64_t>(data.size());
                           inode.source = meta::AttrSource::kHead;
                           return true;
                         })
                .ok());
    drafts.close(ino);
    mutations->uploaded(ino);
  }
  std::future<Result<Entry>> start_mkdir(uint64_t parent, const std::string& name) {
    return start<Entry>([&](auto done) { mutations->mkdir(parent, name, node(0755), done); });
  }
  Result<Entry> mkdir(uint64_t parent, const std::string& name) { return await(start_mkdir(parent, name)); }
  Result<Entry> mknod(uint64_t parent, const std::string& name, NewNode what) {
    return await(start<Entry>([&](auto done) { mutations->mknod(parent, name, what, done); }));
  }
  Result<Entry> symlink(uint64_t parent, const std::string& name, const std::string& target) {
    return await(
        start<Entry>([&](auto done) { mutations->symlink(parent, name, target, node(0777), done); }));
  }
  std::future<Result<void>> start_unlink(uint64_t parent, const std::string& name) {
    return start<void>([&](auto done) { mutations->unlink(parent, name, done); });
  }
  Status unlink(uint64_t parent, const std::string& name) { return await(start_unlink(parent, name)); }
  Status rmdir(uint64_t parent, const std::string& name) {
    return await(start<void>([&](auto done) { mutations->rmdir(parent, name, done); }));
  }
  std::future<Result<Entry>> start_setattr(uint64_t ino, const SetAttr& what) {
    return start<Entry>([&](auto done) { mutations->setattr(ino, what, done); });
  }
  Result<Entry> setattr(uint64_t ino, const SetAttr& what) { return await(start_setattr(ino, what)); }
  Result<Entry> chmod(uint64_t ino, uint32_t mode) {
    SetAttr what;
    what.mode = mode;
    return setattr(ino, what);
  }
  Status setxattr(uint64_t ino, const std::string& name, const std::string& value, int flags = 0) {
    return await(start<void>([&](auto done) { mutations->setxattr(ino, name, value, flags, done); }));
  }
  Status removexattr(uint64_t ino, const std::string& name) {
    return await(start<void>([&](auto done) { mutations->removexattr(ino, name, done); }));
  }
  std::future<Result<void>> start_rename(uint64_t parent, const std::string& name, uint64_t new_parent,
                                         const std::string& new_name, unsigned flags = 0) {
    return start<void>(
        [&](auto done) { mutations->rename(parent, name, new_parent, new_name, flags, done); });
  }
  Status rename(uint64_t parent, const std::string& name, uint64_t new_parent, const std::string& new_name,
                unsigned flags = 0) {
    return await(start_rename(parent, name, new_parent, new_name, flags));
  }
  Status settle() {
    return await(start<void>([&](auto done) { mutations->settle(done); }));
  }

  bool there(uint64_t parent, const std::string& name) {
    const auto reply = lookup(parent, name);
    REQUIRE(reply.ok());
    return reply->found;
  }
  std::string header(const std::string& key, const std::string& name) {
    const auto object = s3.object(key);
    REQUIRE(object);
    for (const auto& [header, value] : object->headers) {
      if (header == name) return value;
    }
    return "(none)";
  }
  size_t journal_size() {
    size_t n = 0;
    REQUIRE(store
                ->scan(meta::Table::kJournal, "", "", SIZE_MAX,
                       [&](std::string_view, std::string_view) {
                         n++;
                         return true;
                       })
                .ok());
    return n;
  }
  size_t pinned_names() {
    size_t n = 0;
    REQUIRE(store
                ->scan(meta::Table::kDirent, "", "", SIZE_MAX,
                       [&](std::string_view, std::string_view value) {
                         n += meta::Dirent::decode(value)->checked_at_ns == INT64_MAX;
                         return true;
                       })
                .ok());
    return n;
  }
  // Nothing is under way: no journal, no pins.
  void require_quiet() {
    REQUIRE(settle().ok());
    REQUIRE(journal_size() == 0);
    REQUIRE(pinned_names() == 0);
  }
  size_t count(s3::Verb verb) { return s3.count(verb); }
  // A later moment: answers of the server are younger than what was done before.
  void tick() { clock.advance_ms(1); }

  UploadOptions upload_options;
  std::unique_ptr<s3::FaultyS3> faulty = std::make_unique<s3::FaultyS3>(s3);
  FakeDrafts drafts;
  std::unique_ptr<InodeQueue> queue;
  std::unique_ptr<Mutations> mutations;
};

inline std::function<std::optional<Error>(const s3::RequestInfo&)> refuse(s3::Verb verb, Code code) {
  return [verb, code](const s3::RequestInfo& info) -> std::optional<Error> {
    if (info.verb == verb) return Error{code, "refused"};
    return std::nullopt;
  };
}

}  // namespace s3cache::core
