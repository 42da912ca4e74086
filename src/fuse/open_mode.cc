#include "fuse/open_mode.h"

namespace s3cache::fuse {

Verdict decide_open(const NodeState& node, const OpenWish& wish) {
  const bool same = node.version == wish.version;
  if (node.opens > 0) {
    if (!same) return Verdict::kStale;
    if (node.registering) return Verdict::kWait;
    // Its own backing file has these very bytes, whatever happened to the cache file since (evicted: not
    // sealed now).
    if (node.mode == Mode::kPassthrough) return Verdict::kJoin;
    if (node.retired) return Verdict::kStale;
    if (wish.sealed && !node.register_failed) return Verdict::kStale;
    return Verdict::kCached;
  }
  if (node.retired) return Verdict::kStale;
  if (node.pages && !same) return Verdict::kStale;
  return wish.sealed ? Verdict::kRegister : Verdict::kCached;
}

bool usable_for(const NodeState& node, uint64_t version) {
  if (node.retired) return false;
  return (node.opens == 0 && !node.pages) || node.version == version;
}

}  // namespace s3cache::fuse
