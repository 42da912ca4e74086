#include "fuse/open_mode.h"

#include <catch2/catch.hpp>

using namespace s3cache::fuse;

namespace {

NodeState live(Mode mode, uint64_t version) {
  NodeState n;
  n.mode = mode;
  n.opens = 1;
  n.version = version;
  n.pages = mode == Mode::kCached;
  return n;
}

const OpenWish kSealed{7, true}, kPartial{7, false}, kNewSealed{8, true}, kNewPartial{8, false};

}  // namespace

TEST_CASE("the first open of a fresh nodeid chooses the mode", "[open_mode]") {
  const NodeState fresh;
  CHECK(decide_open(fresh, kSealed) == Verdict::kRegister);
  CHECK(decide_open(fresh, kPartial) == Verdict::kCached);
}

TEST_CASE("live passthrough handles are joined under their id, whatever the cache file is now",
          "[open_mode]") {
  NodeState n = live(Mode::kPassthrough, 7);
  CHECK(decide_open(n, kSealed) == Verdict::kJoin);
  CHECK(decide_open(n, kPartial) == Verdict::kJoin);  // evicted since: a cached open here would be EIO
  n.retired = true;
  CHECK(decide_open(n, kSealed) == Verdict::kJoin);
}

TEST_CASE("another version never joins", "[open_mode]") {
  for (Mode m : {Mode::kCached, Mode::kPassthrough}) {
    for (bool retired : {false, true}) {
      NodeState n = live(m, 7);
      n.retired = retired;
      CHECK(decide_open(n, kNewSealed) == Verdict::kStale);
      CHECK(decide_open(n, kNewPartial) == Verdict::kStale);
    }
  }
}

TEST_CASE("a file sealed under cached handles needs a new incarnation", "[open_mode]") {
  NodeState n = live(Mode::kCached, 7);
  CHECK(decide_open(n, kPartial) == Verdict::kCached);
  CHECK(decide_open(n, kSealed) == Verdict::kStale);
  // Unless registering failed here: each open would draw a new nodeid and lose the pages.
  n.register_failed = true;
  CHECK(decide_open(n, kSealed) == Verdict::kCached);
}

TEST_CASE("opens during a registration wait for it", "[open_mode]") {
  NodeState n = live(Mode::kPassthrough, 7);
  n.registering = true;
  CHECK(decide_open(n, kSealed) == Verdict::kWait);
  CHECK(decide_open(n, kNewSealed) == Verdict::kStale);
}

TEST_CASE("a retired nodeid takes no new kind of open", "[open_mode]") {
  NodeState n = live(Mode::kCached, 7);
  n.retired = true;
  CHECK(decide_open(n, kPartial) == Verdict::kStale);
  CHECK(decide_open(n, kSealed) == Verdict::kStale);
  n.opens = 0;
  n.mode = Mode::kNone;
  CHECK(decide_open(n, kPartial) == Verdict::kStale);
  CHECK(decide_open(n, kSealed) == Verdict::kStale);
}

TEST_CASE("pages of a closed file serve the same version only", "[open_mode]") {
  NodeState n;
  n.version = 7;
  n.pages = true;
  CHECK(decide_open(n, kPartial) == Verdict::kCached);
  CHECK(decide_open(n, kSealed) ==
        Verdict::kRegister);  // the kernel's cached pages lie idle, no mode is held
  CHECK(decide_open(n, kNewPartial) == Verdict::kStale);
  CHECK(decide_open(n, kNewSealed) == Verdict::kStale);
  n.pages = false;
  CHECK(decide_open(n, kNewPartial) == Verdict::kCached);
}

TEST_CASE("a LOOKUP keeps the nodeid only for the content it stands for", "[open_mode]") {
  CHECK(usable_for(NodeState{}, 8));
  NodeState n = live(Mode::kPassthrough, 7);
  CHECK(usable_for(n, 7));
  CHECK_FALSE(usable_for(n, 8));
  n.opens = 0;
  n.pages = true;
  CHECK_FALSE(usable_for(n, 8));
  n.pages = false;
  CHECK(usable_for(n, 8));
  n.retired = true;
  CHECK_FALSE(usable_for(n, 7));
}

TEST_CASE("a writer is served in cached mode, beside cached handles only", "[open_mode]") {
  const OpenWish writer{7, false, true}, odd{7, true, true}, newer{8, false, true};
  CHECK(decide_open(NodeState{}, writer) == Verdict::kCached);
  CHECK(decide_open(NodeState{}, odd) == Verdict::kCached);
  CHECK(decide_open(live(Mode::kCached, 7), writer) == Verdict::kCached);
  CHECK(decide_open(live(Mode::kCached, 7), newer) == Verdict::kStale);
  CHECK(decide_open(live(Mode::kPassthrough, 7), writer) == Verdict::kStale);
  NodeState n = live(Mode::kPassthrough, 7);
  n.registering = true;  // whatever comes of it
  CHECK(decide_open(n, writer) == Verdict::kStale);
  n = live(Mode::kCached, 7);
  n.retired = true;
  CHECK(decide_open(n, writer) == Verdict::kStale);
  n = NodeState{};
  n.pages = true;
  n.version = 7;
  CHECK(decide_open(n, writer) == Verdict::kCached);
  CHECK(decide_open(n, newer) == Verdict::kStale);
}

TEST_CASE("where a writer was, later opens stay in cached mode until all have closed", "[open_mode]") {
  NodeState n = live(Mode::kCached, 7);
  n.written = true;
  CHECK(decide_open(n, kPartial) == Verdict::kCached);
  CHECK(decide_open(n, kSealed) == Verdict::kCached);
  n.opens = 0;
  n.mode = Mode::kNone;
  n.written = false;
  CHECK(decide_open(n, kSealed) == Verdict::kRegister);
}

TEST_CASE("passthrough handles a writer has overtaken are joined by nobody", "[open_mode]") {
  NodeState n = live(Mode::kPassthrough, 7);
  n.overtaken = true;
  CHECK(decide_open(n, kSealed) == Verdict::kStale);  // the sealed file may be another one than theirs
  CHECK(decide_open(n, kPartial) == Verdict::kStale);
}

TEST_CASE("while a writer is on its way nobody starts passthrough", "[open_mode]") {
  NodeState n;
  n.reserved = true;
  CHECK(decide_open(n, kSealed) == Verdict::kCached);
  CHECK(decide_open(n, {7, false, true}) == Verdict::kCached);
  n = live(Mode::kCached, 7);
  n.reserved = true;
  CHECK(decide_open(n, kSealed) == Verdict::kCached);  // else its nodeid would be retired under the writer
  n = live(Mode::kPassthrough, 7);
  n.reserved = true;
  CHECK(decide_open(n, kSealed) == Verdict::kJoin);
}
