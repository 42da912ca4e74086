// The rule of OPEN: may this open join the handles of this incarnation, and in which I/O mode?
//
// The kernel keeps one I/O mode per FUSE inode: a cached open beside a passthrough open is EIO for the user,
// and so is passthrough with a second backing id. It leaves a mode just before it queues the last RELEASE, so
// counting opens and RELEASEs here lags on the safe side.
//
// A version outlives local writes, so handles from before and after a write may share a nodeid. Two kinds may
// not: a writer never joins passthrough readers, and nobody joins a passthrough nodeid whose file was changed
// through another one (its backing file may not have those bytes). Threads: a pure function.
#pragma once

#include <cstdint>

namespace s3cache::fuse {

enum class Mode : uint8_t { kNone, kCached, kPassthrough };

// What is known of a nodeid when an open arrives.
struct NodeState {
  Mode mode = Mode::kNone;       // of the live handles
  uint32_t opens = 0;            // OPENs answered minus RELEASEs
  uint64_t version = 0;          // of the live handles, or of the pages left behind
  bool pages = false;            // the kernel may hold pages of `version`
  bool retired = false;          // a successor exists or is wanted
  bool registering = false;      // the first handle is fetching the backing id right now
  bool register_failed = false;  // it could not: stay in cached mode as long as somebody has it open
  bool reserved = false;         // a writer was just sent to look the name up again: no passthrough meanwhile
  // These two last as long as somebody has it open.
  bool written = false;  // one of its handles can write: it stays cached, also when the file is sealed again
  bool overtaken = false;  // changed by other means than its own writers since its handles were opened
};

// What the open needs.
struct OpenWish {
  uint64_t version = 0;
  bool sealed = false;  // fit for passthrough, and the mount can do it
  bool write = false;   // must come to the daemon
};

enum class Verdict : uint8_t {
  kCached,    // reads come to the daemon, pages stay in the kernel
  kRegister,  // passthrough, first handle: register the backing file, then answer
  kJoin,      // passthrough under the backing id the incarnation has
  kWait,      // another open is registering: ask again when it has finished
  kStale,     // retire the incarnation and answer ESTALE: the kernel looks the name up again
};

Verdict decide_open(const NodeState& node, const OpenWish& wish);

// May a LOOKUP still answer with this nodeid for an object of `version`?
bool usable_for(const NodeState& node, uint64_t version);

}  // namespace s3cache::fuse
