#include "fuse/open_mode.h"

namespace s3cache::fuse {

Verdict decide_open(const NodeState& node, const OpenWish& wish) {
  const bool same = node.version == wish.version;
  if (node.opens > 0) {
    if (!same) return Verdict::kStale;
    if (node.mode == Mode::kPassthrough) {
      if (wish.write || node.overtaken) return Verdict::kStale;
      // Its own backing file has these very bytes, whatever happened to the cache file since (evicted: not
      // sealed now).
      return node.registering ? Verdict::kWait : Verdict::kJoin;
    }
    if (node.retired) return Verdict::kStale;
    // Beside writers a file is sealed only by a race, and after them it would go to and fro at every save.
    if (wish.sealed && !node.register_failed && !node.written && !node.reserved) return Verdict::kStale;
    return Verdict::kCached;
  }
  if (node.retired) return Verdict::kStale;
  if (node.pages && !same) return Verdict::kStale;
  return wish.sealed && !wish.write && !node.reserved ? Verdict::kRegister : Verdict::kCached;
}

bool usable_for(const NodeState& node, uint64_t version) {
  if (node.retired) return false;
  return (node.opens == 0 && !node.pages) || node.version == version;
}

}  // namespace s3cache::fuse
