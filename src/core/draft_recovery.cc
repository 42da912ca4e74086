// DraftTable at mount: the drafts that an earlier process left, finished or taken back.
#include <unistd.h>

#include <algorithm>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/attributes.h"
#include "core/draft_journal.h"
#include "core/draft_table.h"

namespace s3cache::core {

using meta::Batch;
using meta::Inode;
using meta::Table;

// An upload that was under way when the process died may have arrived: then it is what the draft builds on,
// and readers must not be sent to the version before it.
std::vector<Result<s3::ObjectInfo>> DraftTable::look_for_sent(const std::vector<DraftMark>& marks) {
  std::vector<std::future<Result<s3::ObjectInfo>>> asked;
  for (const DraftMark& mark : marks) {
    auto answer = std::make_shared<std::promise<Result<s3::ObjectInfo>>>();
    asked.push_back(answer->get_future());
    auto key = inodes_.key_of(mark.ino);
    if (!mark.durable || mark.sent_ctime.empty() || !key.ok()) {
      answer->set_value(Error{Code::kNotFound, "nothing was sent"});
    } else {
      s3_.head(*key, s3::Priority::kForeground,
               [answer](Result<s3::ObjectInfo> info) { answer->set_value(std::move(info)); });
    }
  }
  std::vector<Result<s3::ObjectInfo>> out;
  for (auto& one : asked) out.push_back(one.get());
  return out;
}

void DraftTable::recover() {
  uploader_.abort_left_over();
  const std::vector<DraftMark> marks = read_draft_marks(store_);
  const auto found = look_for_sent(marks);
  for (size_t i = 0; i < marks.size(); ++i) {
    DraftMark mark = marks[i];
    if (!mark.durable) {
      take_back(mark);
      continue;
    }
    const std::string* ctime = found[i].ok() ? found[i]->header(kCtimeHeader) : nullptr;
    if (ctime && *ctime == mark.sent_ctime && found[i]->size == mark.sent_size) {
      mark.base_size = found[i]->size;
      mark.base_len = std::min(mark.base_len, mark.base_size);
      (void)inodes_.update(mark.ino, [&](Inode& inode, Batch&) {
        inode.etag = found[i]->etag;
        return true;
      });
    }
    revive(mark);
  }
}

void DraftTable::revive(const DraftMark& mark) {
  auto inode = inodes_.get(mark.ino);
  if (inode.ok() && mark.fid == 0)
    return close(open(mark.ino, version_of(*inode), true, false));  // an empty file
  auto file = dir_.open_file(mark.fid, true);
  if (!inode.ok() || !file.ok()) {
    log::error("journal: inode {}: its unsaved bytes cannot be opened: {}; the record is kept", mark.ino,
               (inode.ok() ? file.error() : inode.error()).message);
    return;
  }
  Draft::Start start;
  start.fid = mark.fid;
  start.size = inode->size;
  start.base_etag = inode->etag;
  start.base_size = mark.base_size;
  start.base_len = std::min(mark.base_len, inode->size);
  start.dirty = read_extents(store_, mark.ino);
  // What lies behind the base and was never written are zeros, and those are in the file.
  if (start.base_len > 0) start.base = contents_.uncached(mark.ino, inode->etag, mark.base_size);
  if (::ftruncate(file->get(), start.size) != 0) log::warn("journal: cannot resize {:016x}", mark.fid);
  start.file = std::make_shared<UniqueFd>(std::move(*file));
  space_.policy().set_evictable(mark.fid, false);
  crash_point("replay-revive");
  auto draft = open(mark.ino, version_of(*inode), inode->etag.empty(), false);
  draft->begin(std::move(start));
  draft->attributes_changed();
  draft->set_sent(mark.sent_ctime, mark.sent_size);
  draft->durable = true;
  log::info("journal: inode {}: {} bytes go up that an earlier mount promised", mark.ino,
            draft->unsaved().bytes());
  close(draft);
}

// Changes that nobody was promised: the name shows what S3 has.
void DraftTable::take_back(const DraftMark& mark) {
  auto inode = inodes_.get(mark.ino);
  if (inode.ok() && inode->source == meta::AttrSource::kLocal) {
    const std::string name = meta::dirent_key(inode->parent, inode->name, false);
    if (inode->etag.empty()) {
      // Or its upload ended just before its record could be made: the directory has to be asked again.
      Batch batch;
      batch.erase(Table::kDirent, name);
      batch.erase(Table::kDir, meta::id_key(inode->parent));
      inodes_.remove(mark.ino, std::move(batch));
    } else {
      (void)inodes_.update(mark.ino, [&](Inode& now, Batch& batch) {
        now.source = meta::AttrSource::kListing;
        now.fid = 0;
        now.etag = "taken back";
        meta::Dirent dirent;
        dirent.ino = mark.ino;
        dirent.checked_at_ns = -1;
        batch.put(Table::kDirent, name, dirent.encode());
        return true;
      });
    }
  }
  crash_point("replay-take-back");
  forget_draft_records(store_, mark.ino);
  if (mark.fid != 0) space_.evict(mark.fid);
}

}  // namespace s3cache::core
