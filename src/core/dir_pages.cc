#include "core/dir_pages.h"

#include <utility>

#include "base/log.h"

namespace s3cache::core {

Result<ListingMerge::Outcome> DirPages::write(s3::ListPage page, int64_t asked_at_ns, bool last) {
  // A directory above was renamed here: the old place empties, and the new one filled, while we looked.
  const auto place = c_.inodes.key_of(dir_);
  if ((place.ok() && *place != prefix_) || c_.inodes.tree_moved_since(dir_, asked_at_ns)) {
    return Error{Code::kCancelled, "the directory has another place now"};
  }
  const SplitPage split = split_page(prefix_, std::move(page), c_.options.compat_dir);
  any_key_ |= !split.names.empty() || split.marker.has_value() || split.unnameable != 0;
  c_.unnameable += split.unnameable;
  if (split.unnameable != 0 && !c_.said_unnameable.exchange(true)) {
    log::warn(
        "{} keys under \"{}\" have no POSIX name (empty, \".\", \"..\", over {} bytes) and are not shown",
        split.unnameable, prefix_, kMaxName);
  }
  take_marker(split, asked_at_ns, last);
  auto outcome = merge_.page(split, asked_at_ns, last);
  if (!outcome.ok()) return outcome;
  // A directory is there as long as a key is: without any, its name has to be asked for again.
  if (last && !any_key_ && dir_ != meta::kRootIno) records_.touch(dir_, kExpired);
  return outcome;
}

void DirPages::take_marker(const SplitPage& page, int64_t asked_at_ns, bool last) {
  if (marker_known_) return;
  if (!page.marker && c_.unordered && !last) return;
  marker_known_ = true;
  const s3::ListedObject* marker = page.marker ? &*page.marker : nullptr;
  (void)records_.update(dir_, asked_at_ns, nullptr, [marker](meta::Inode& inode, bool late) {
    return late ? Change::kNone : apply_marker(inode, marker);
  });
}

}  // namespace s3cache::core
