// ContentTable and local changes: a content steps aside for a draft, and a saved draft becomes a content.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "core/content_table.h"

namespace s3cache::core {

bool ContentTable::supersede(const std::shared_ptr<Content>& content, bool keep_file) {
  {
    MutexLock lock(mu_);
    const auto it = contents_.find({content->id().ino, content->id().version});
    if (it == contents_.end() || it->second.lock() != content) return false;
    contents_.erase(it);
  }
  content->supersede(keep_file);
  // Under the lock of those who write records: none of it comes after the draft's.
  MutexLock recording(record_mu_);
  content->detach();
  return true;
}

std::shared_ptr<Content> ContentTable::uncached(uint64_t ino, const std::string& etag, int64_t size) {
  auto inode = inodes_.get(ino);
  auto key = inodes_.key_of(ino);
  if (!inode.ok() || !key.ok()) return nullptr;
  const ContentId id{ino, version_of(*inode), std::move(*key), etag, size, 0};
  auto content =
      std::make_shared<Content>(*this, id, entry_of(ino, *inode, names_).attr, nullptr, false, readahead_);
  content->supersede(false);
  content->detach();
  return content;
}

std::shared_ptr<Content> ContentTable::prepare_local(uint64_t ino, const meta::Inode& inode, uint64_t fid,
                                                     const ExtentSet& local) {
  auto key = inodes_.key_of(ino);
  if (!key.ok()) return nullptr;
  std::unique_ptr<cache::CacheFile> file;
  if (inode.size > 0) {
    file = std::make_unique<cache::CacheFile>(dir_, fds_, fid, inode.size, false);
    for (const Range& r : local.inside(0, inode.size)) {
      if (const auto taken = file->absorb(r.offset, r.length); !taken.ok()) {
        if (!taken.is(Code::kBusy)) log::warn("cache file {:016x}: {}", fid, taken.error().message);
        return nullptr;
      }
    }
  }
  const ContentId id{ino, version_of(inode), std::move(*key), inode.etag, inode.size, inode.last_modified_s};
  return std::make_shared<Content>(*this, id, entry_of(ino, inode, names_).attr, std::move(file), false,
                                   readahead_);
}

void ContentTable::publish_local(const std::shared_ptr<Content>& content) {
  if (!content) return;
  std::shared_ptr<Content> before;
  {
    MutexLock lock(mu_);
    auto& place = contents_[{content->id().ino, content->id().version}];
    before = place.lock();
    place = content;
  }
  // The draft took the place of any that had bytes when it began; of an empty one readers may still hold it.
  if (before && before != content) before->supersede(false);
  if (content->fid() == 0) return;
  if (content->file()->full()) {
    (void)content->claim_seal();
    record(*content, true);
    content->mark_sealed();
  } else {
    record(*content, false);
  }
}

bool ContentTable::open_unsealed(uint64_t ino) {
  auto inode = inodes_.get(ino);
  if (!inode.ok()) return false;
  const auto content = find({ino, version_of(*inode)});
  return content && !content->sealed() && content->id().size > 0 && content->handles() > 0;
}

void ContentTable::forget_unlinked(uint64_t ino) {
  auto inode = inodes_.get(ino);
  if (!inode.ok() || inode->fid == 0) return;
  const auto content = find({ino, version_of(*inode)});
  MutexLock recording(record_mu_);
  if (content) {
    content->detach();
  } else {
    // Not on the store's own thread, which brings the news that the unlink is durable: while another journal
    // commit runs an unlink takes as long as that (4 ms), and `rm -rf` waits for each.
    workers_.post([this, fid = inode->fid] { space_.evict(fid); });
  }
}

void ContentTable::on_closed(std::function<void(uint64_t ino)> hook) {
  MutexLock lock(hook_mu_);
  closed_hook_ = std::move(hook);
}

}  // namespace s3cache::core
