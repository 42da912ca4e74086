#include "core/make_filesystem.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "core/content_table.h"
#include "core/janitor.h"
#include "core/scrubber.h"
#include "core/xattrs.h"

namespace s3cache::core {

namespace {

class Handle : public OpenFile {
 public:
  Handle(ContentTable& table, std::shared_ptr<Content> content)
      : table_(table), content_(std::move(content)) {
    content_->add_handle();
  }
  ~Handle() override { content_->drop_handle(); }

  uint64_t ino() const override { return content_->id().ino; }
  uint64_t version() const override { return content_->id().version; }
  Attr attr() const override { return content_->attr(); }
  bool sealed() const override { return content_->sealed(); }

  Result<int> backing_fd() override {
    auto fd = content_->file()->open_readonly();
    if (!fd.ok()) {
      // Gone, or of another size: a longer file would show bytes behind the object's end, a shorter one
      // zeros.
      if (fd.is(Code::kNotFound) || fd.is(Code::kCorrupt)) table_.damaged(*content_);
      return fd.error();
    }
    return fd->release();
  }

  Content& content() { return *content_; }

 private:
  ContentTable& table_;
  const std::shared_ptr<Content> content_;
};

// After a power cut only synced files are trusted. The first file id that is not under suspicion.
Result<uint64_t> distrust_below(meta::MetaStore& store) {
  const auto state = [&](const char* name) -> std::string {
    auto value = store.get(meta::Table::kState, name);
    return value.ok() && value->has_value() ? **value : std::string();
  };
  const std::string boot = cache::boot_id();
  const std::string known = state("distrust_below");
  const uint64_t before = known.size() == 8 ? read_be64(known) : 0;
  if (state("boot_id") == boot) return before;
  auto next = store.next_id();
  if (!next.ok()) return next.error();
  meta::Batch batch;
  batch.put(meta::Table::kState, "boot_id", boot);
  batch.put(meta::Table::kState, "distrust_below", be64(*next));
  if (Status s = store.apply_durable(std::move(batch)); !s.ok()) return s.error();
  return *next;
}

// A part larger than a quarter of the memory would hardly ever find room as readahead.
ReadaheadOptions fitting(ReadaheadOptions readahead, int64_t mem_limit) {
  constexpr int64_t kUnit = 1 << 20;
  readahead.max_part = std::clamp(mem_limit / 4 / kUnit * kUnit, kUnit, std::max(readahead.max_part, kUnit));
  return readahead;
}

class FilesystemImpl : public Filesystem {
 public:
  FilesystemImpl(const FilesystemParts& parts, const FilesystemOptions& options, uint64_t distrust,
                 uint64_t first_fid)
      : options_(options),
        s3_(parts.s3),
        pool_(options.mem_limit),
        workers_(options.disk_threads, "s3c-disk"),
        fds_(options.cache_fds),
        budget_(parts.dir, parts.clock, options.budget),
        space_(parts.store, parts.dir, fds_, budget_),
        inodes_(parts.store, options.prefix),
        fetcher_(parts.s3, pool_, workers_),
        table_({inodes_, parts.dir, fds_, space_, fetcher_, workers_, parts.clock},
               fitting(options.readahead, options.mem_limit), options.names, distrust),
        scrubber_(parts.store, table_, parts.clock, options.scrub_interval_s),
        names_(Namespace::make(inodes_, parts.s3, &table_, parts.listener, parts.clock, options.names)) {
    table_.set_namespace(names_.get());
    space_.start_restore(first_fid);
    janitor_ = std::make_unique<Janitor>(
        std::vector<Janitor::Task>{[this] { return names_->tend(); }, [this] { return scrubber_.step(); }});
  }

  ~FilesystemImpl() override {
    janitor_.reset();
    s3_.shutdown();  // no callback comes after this
    fetcher_.shutdown();
    workers_.stop();
  }

  Namespace& names() override { return *names_; }

  void open(Caller caller, uint64_t ino, OpenFlags flags, Callback<std::shared_ptr<OpenFile>> done) override {
    names_->opened(caller, ino);
    if (!flags.direct) return open_current(ino, flags, done);
    names_->revalidate(ino, [this, ino, flags, done](Result<Entry> entry) {
      if (!entry.ok()) return done(entry.error());
      open_current(ino, flags, done);
    });
  }

  void read(std::shared_ptr<OpenFile> file, int64_t offset, size_t length,
            Callback<ReadReply> done) override {
    static_cast<Handle&>(*file).content().read(offset, length, std::move(done));
  }

  FsStat statfs() override {
    constexpr uint64_t kBlock = 4096;
    const uint64_t blocks = static_cast<uint64_t>(options_.bucket_size) / kBlock;
    return {kBlock, blocks, blocks, UINT32_MAX, UINT32_MAX};
  }

  void getxattr(uint64_t ino, std::string name, Callback<std::string> done) override {
    if (auto own = own_xattr(ino, name)) return done(std::move(*own));
    names_->ext(ino, [name, done = std::move(done)](Result<meta::Ext> ext) {
      if (!ext.ok()) return done(ext.error());
      for (auto& [key, value] : decode_xattrs(ext->xattrs))
        if (key == name) return done(std::move(value));
      done(Error{Code::kNotFound, "no attribute " + name});
    });
  }

  void listxattr(uint64_t ino, Callback<std::vector<std::string>> done) override {
    names_->ext(ino, [this, ino, done = std::move(done)](Result<meta::Ext> ext) {
      if (!ext.ok()) return done(ext.error());
      std::vector<std::string> names;
      for (auto& [key, value] : decode_xattrs(ext->xattrs)) names.push_back(key);
      auto inode = inodes_.get(ino);
      if (inode.ok() && inode->kind == meta::Kind::kFile)
        for (const char* own : kOwnXattrs) names.emplace_back(own);
      done(std::move(names));
    });
  }

 private:
  void open_current(uint64_t ino, OpenFlags flags, const Callback<std::shared_ptr<OpenFile>>& done) {
    auto content = table_.acquire(ino);
    if (!content.ok()) return done(content.error());
    table_.opened(**content);
    std::shared_ptr<OpenFile> handle = std::make_shared<Handle>(table_, *content);
    const int64_t size = (*content)->id().size;
    // A small file is complete when its OPEN is answered: its first byte already comes from the kernel.
    if ((*content)->sealed() || flags.no_read || size == 0 || size > options_.names.small_file)
      return done(handle);
    (*content)->fetch_all(nullptr, [handle, done](Status fetched) {
      if (!fetched.ok()) return done(fetched.error());
      done(handle);
    });
  }

  Result<std::string> own_xattr_value(const meta::Inode& inode, uint64_t ino, const std::string& name) {
    if (name == kXattrEtag) return inode.etag;
    if (name == kXattrSize) return std::to_string(inode.size);
    auto content = table_.acquire(ino);
    if (!content.ok()) return content.error();
    return std::to_string((*content)->cached_bytes());
  }

  std::optional<Result<std::string>> own_xattr(uint64_t ino, const std::string& name) {
    if (!is_own_xattr(name)) return std::nullopt;
    auto inode = inodes_.get(ino);
    if (!inode.ok()) return Result<std::string>(inode.error());
    if (inode->kind != meta::Kind::kFile)
      return Result<std::string>(Error{Code::kNotFound, "no attribute " + name});
    return own_xattr_value(*inode, ino, name);
  }

  const FilesystemOptions options_;
  s3::S3Client& s3_;
  // Destroyed from the bottom up: names, table, fetcher first; units last.
  BufferPool pool_;
  WorkerPool workers_;
  cache::FdCache fds_;
  cache::Budget budget_;
  CacheSpace space_;
  Inodes inodes_;
  Fetcher fetcher_;
  ContentTable table_;
  Scrubber scrubber_;
  std::unique_ptr<Namespace> names_;
  std::unique_ptr<Janitor> janitor_;
};

}  // namespace

Result<std::unique_ptr<Filesystem>> make_filesystem(const FilesystemParts& parts,
                                                    const FilesystemOptions& options) {
  auto distrust = distrust_below(parts.store);
  if (!distrust.ok()) return distrust.error();
  auto first = parts.store.next_id();
  if (!first.ok()) return first.error();
  return std::unique_ptr<Filesystem>(std::make_unique<FilesystemImpl>(parts, options, *distrust, *first));
}

}  // namespace s3cache::core
