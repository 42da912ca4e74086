#include "core/tree_merge.h"

#include <algorithm>
#include <utility>

namespace s3cache::core {

using meta::Dirent;
using meta::Table;

TreeMerge::TreeMerge(NsContext& context, DirRecords& records, uint64_t top, std::string prefix,
                     std::string start_after)
    : c_(context), records_(records), prefix_(std::move(prefix)), position_(std::move(start_after)) {
  auto folder = std::make_shared<Folder>();
  folder->prefix = prefix_;
  folder->ino = top;
  open_.push_back(std::move(folder));
}

Status TreeMerge::check(const s3::ListPage& page) {
  const auto refuse = [this](const char* why) {
    return Error{Code::kInvalid, "the flat listing of \"" + prefix_ + "\": " + why};
  };
  if (!page.prefixes.empty()) return refuse("the server insists on a delimiter");
  const std::string* last = &position_;
  for (const s3::ListedObject& object : page.objects) {
    if (!object.key.starts_with(prefix_)) return refuse("the server answers other keys");
    if (object.key < *last) {
      if (!begun_ && last == &position_) return refuse("the server takes no start");
      return Error{Code::kCorrupt, "the flat listing of \"" + prefix_ + "\" is out of order"};
    }
    last = &object.key;
  }
  return {};
}

Result<TreeMerge::Outcome> TreeMerge::page(s3::ListPage page, int64_t asked_at_ns, bool last) {
  if (Status s = check(page); !s.ok()) {
    if (s.is(Code::kCorrupt)) take_back();
    return s.error();
  }
  begun_ = true;
  // Parents before children: those still open from the page before, then the new ones as their keys come.
  std::vector<FolderPtr> touched(open_.begin() + 1, open_.end());
  for (s3::ListedObject& object : page.objects) {
    position_ = object.key;
    deal(std::move(object), touched);
  }
  if (last) {
    for (; open_.size() > 1; open_.pop_back()) open_.back()->closed = true;
  }
  Outcome out;
  for (const FolderPtr& folder : touched) {
    s3::ListPage part = std::exchange(folder->part, {});
    out.touched += part.objects.empty() ? 0 : 1;
    if (part.objects.empty() && part.prefixes.empty() && !folder->closed) continue;
    if (!identify(*folder, asked_at_ns)) continue;
    const auto written = folder->pages->write(std::move(part), asked_at_ns, folder->closed);
    if (!written.ok()) {
      folder->pages.reset();
      if (!written.is(Code::kCancelled)) return written.error();
    } else if (folder->closed) {
      out.completed++;
      completed_.push_back(folder->ino);
      if (completed_.size() > kRemembered) completed_.pop_front();
    }
  }
  return out;
}

void TreeMerge::deal(s3::ListedObject object, std::vector<FolderPtr>& touched) {
  while (open_.size() > 1 && !object.key.starts_with(open_.back()->prefix)) {
    open_.back()->closed = true;
    open_.pop_back();
  }
  size_t from = open_.back()->prefix.size();
  for (size_t slash; (slash = object.key.find('/', from)) != std::string::npos; from = slash + 1) {
    auto child = std::make_shared<Folder>();
    child->prefix = object.key.substr(0, slash + 1);
    child->name = object.key.substr(from, slash - from);
    child->parent = open_.back();
    if (open_.size() > 1) open_.back()->part.prefixes.push_back(child->prefix);
    touched.push_back(child);
    open_.push_back(std::move(child));
  }
  if (open_.size() > 1) open_.back()->part.objects.push_back(std::move(object));
}

bool TreeMerge::identify(Folder& folder, int64_t asked_at_ns) {
  if (folder.pages) return true;
  if (folder.parent == nullptr) return false;  // passed over, or seen before
  const FolderPtr parent = std::exchange(folder.parent, nullptr);
  if (parent->ino == 0 || !nameable(folder.name)) return false;
  const auto dirent =
      load_record<Dirent>(c_.store(), Table::kDirent, meta::dirent_key(parent->ino, folder.name, true));
  if (!dirent.ok() || !*dirent || (*dirent)->ino == 0) return false;
  folder.ino = (*dirent)->ino;
  folder.pages.emplace(c_, records_, folder.ino, folder.prefix, asked_at_ns);
  return true;
}

void TreeMerge::take_back() {
  for (const uint64_t ino : completed_) {
    MutexLock lock(c_.dir_lock(ino));
    meta::Batch batch;
    batch.erase(Table::kDir, meta::id_key(ino));
    c_.store().apply(std::move(batch));
  }
  completed_.clear();
}

}  // namespace s3cache::core
