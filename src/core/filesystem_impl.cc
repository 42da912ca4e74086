// The rooms put together, and the reading half.
#include "core/filesystem_impl.h"

#include <algorithm>
#include <utility>

#include "core/xattrs.h"

namespace s3cache::core {

namespace {
// A part larger than a quarter of the memory would hardly ever find room as readahead.
ReadaheadOptions fitting(ReadaheadOptions readahead, int64_t mem_limit) {
  constexpr int64_t kUnit = 1 << 20;
  readahead.max_part = std::clamp(mem_limit / 4 / kUnit * kUnit, kUnit, std::max(readahead.max_part, kUnit));
  return readahead;
}
}  // namespace

FilesystemImpl::FilesystemImpl(const FilesystemParts& parts, const FilesystemOptions& options,
                               uint64_t distrust, uint64_t first_fid)
    : options_(options),
      s3_(parts.s3),
      pool_(options.mem_limit),
      workers_(options.disk_threads, "s3c-disk"),
      fds_(options.cache_fds),
      budget_(parts.dir, parts.clock, options.budget),
      space_(parts.store, parts.dir, fds_, budget_, options.read_only ? 0 : options.upload.multipart_size),
      inodes_(parts.store, options.prefix),
      fetcher_(parts.s3, pool_, workers_),
      contents_({inodes_, parts.dir, fds_, space_, fetcher_, workers_, parts.clock},
                fitting(options.readahead, options.mem_limit), options.names, distrust),
      drafts_(
          {inodes_, contents_, parts.dir, space_, workers_, queue_, parts.s3, parts.clock, parts.listener},
          options.upload, options.mem_limit),
      scrubber_(parts.store, contents_, parts.clock, options.scrub_interval_s),
      names_(Namespace::make(inodes_, parts.s3, &contents_, parts.listener, parts.clock, options.names)),
      mutations_(Mutations::make(inodes_, *names_, parts.s3, drafts_, queue_, parts.listener, parts.clock,
                                 options.names, options.upload)) {
  contents_.set_namespace(names_.get());
  drafts_.set_mutations(mutations_.get());
  space_.start_restore(first_fid);
  janitor_ = std::make_unique<Janitor>(
      std::vector<Janitor::Task>{[this] { return names_->tend(); }, [this] { return scrubber_.step(); }});
  if (options.read_only) return;
  drafts_.recover();
  mutations_->replay();
}

FilesystemImpl::~FilesystemImpl() {
  janitor_.reset();
  drafts_.stop_waiting();
  s3_.shutdown();  // no callback comes after this
  fetcher_.shutdown();
  workers_.stop();
  if (options_.read_only) return;
  meta::Batch batch;
  batch.erase(meta::Table::kState, std::string(kWriting));  // behind every record made before it
  inodes_.store().apply(std::move(batch));
}

std::shared_ptr<FileHandle> FilesystemImpl::handle(uint64_t ino, uint64_t version,
                                                   std::shared_ptr<Content> content,
                                                   std::shared_ptr<Draft> draft) {
  return std::make_shared<FileHandle>(contents_, drafts_, inodes_, options_.names, ino, version,
                                      std::move(content), std::move(draft));
}

void FilesystemImpl::open(Caller caller, uint64_t ino, OpenFlags flags, OpenDone done) {
  names_->opened(caller, ino);
  const auto go_on = [this, ino, flags, done] {
    if (flags.write || flags.truncate) return open_to_write(ino, flags, done);
    open_current(ino, flags, done);
  };
  if (!flags.direct) return go_on();
  names_->revalidate(ino, [go_on, done](Result<Entry> entry) {
    if (!entry.ok()) return done(entry.error());
    go_on();
  });
}

void FilesystemImpl::open_current(uint64_t ino, OpenFlags flags, const OpenDone& done) {
  auto inode = inodes_.get(ino);
  // What this mount changes right now has no Content.
  if (inode.ok() && (drafts_.active(ino, version_of(*inode)) || drafts_.has_draft(ino)))
    return done(std::shared_ptr<OpenFile>(handle(ino, version_of(*inode), nullptr, nullptr)));
  auto content = contents_.acquire(ino);
  if (!content.ok()) return done(content.error());
  contents_.opened(**content);
  std::shared_ptr<OpenFile> file = handle(ino, (*content)->id().version, *content, nullptr);
  const int64_t size = (*content)->id().size;
  // A small file is complete when its OPEN is answered: its first byte already comes from the kernel.
  if ((*content)->sealed() || flags.no_read || size == 0 || size > options_.names.small_file)
    return done(file);
  (*content)->fetch_all(nullptr, [file, done](Status fetched) {
    if (!fetched.ok()) return done(fetched.error());
    done(file);
  });
}

void FilesystemImpl::read(std::shared_ptr<OpenFile> file, int64_t offset, size_t length,
                          Callback<ReadReply> done) {
  static_cast<FileHandle&>(*file).read(offset, length, std::move(done));
}

FsStat FilesystemImpl::statfs() {
  constexpr uint64_t kBlock = 4096;
  const uint64_t blocks = static_cast<uint64_t>(options_.bucket_size) / kBlock;
  return {kBlock, blocks, blocks, UINT32_MAX, UINT32_MAX};
}

Stats FilesystemImpl::stats() {
  Stats out;
  out.cache_bytes = budget_.used();
  out.cache_limit = budget_.limit();
  out.cache_files = space_.policy().entries();
  drafts_.report(out);
  mutations_->report(out);
  out.requests = s3_.counters();
  out.names = names_->stats();
  return out;
}

void FilesystemImpl::getxattr(uint64_t ino, std::string name, Callback<std::string> done) {
  if (auto own = own_xattr(ino, name)) return done(std::move(*own));
  names_->ext(ino, [name, done = std::move(done)](Result<meta::Ext> ext) {
    if (!ext.ok()) return done(ext.error());
    for (auto& [key, value] : decode_xattrs(ext->xattrs))
      if (key == name) return done(std::move(value));
    done(Error{Code::kNotFound, "no attribute " + name});
  });
}

void FilesystemImpl::listxattr(uint64_t ino, Callback<std::vector<std::string>> done) {
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

Result<std::string> FilesystemImpl::own_xattr_value(const meta::Inode& inode, uint64_t ino,
                                                    const std::string& name) {
  if (name == kXattrEtag) return inode.etag;
  if (name == kXattrSize) return std::to_string(inode.size);
  if (auto draft = drafts_.active(ino, version_of(inode))) return std::to_string(draft->local().bytes());
  auto content = contents_.acquire(ino);
  if (!content.ok()) return content.error();
  return std::to_string((*content)->cached_bytes());
}

std::optional<Result<std::string>> FilesystemImpl::own_xattr(uint64_t ino, const std::string& name) {
  if (!is_own_xattr(name)) return std::nullopt;
  auto inode = inodes_.get(ino);
  if (!inode.ok()) return Result<std::string>(inode.error());
  if (inode->kind != meta::Kind::kFile)
    return Result<std::string>(Error{Code::kNotFound, "no attribute " + name});
  return own_xattr_value(*inode, ino, name);
}

}  // namespace s3cache::core
