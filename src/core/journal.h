// Journal: the changes of the namespace that S3 does not have yet, as records that survive.
//
// add() and done() put their part into the caller's batch, so that a record comes and goes with the change of
// the names it speaks of. Sequence numbers grow; scan() at the start hands them out in order and goes on
// counting behind them. A record nobody can read is moved to kState "journal/bad/" be64(seq), logged and left
// there: it may be all that is known of a change. Threads: any, after scan(). Errors: those of MetaStore.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "meta/meta_store.h"
#include "meta/records.h"

namespace s3cache::core {

inline constexpr std::string_view kBadIntents = "journal/bad/";

class Journal {
 public:
  explicit Journal(meta::MetaStore& store) : store_(store) {}

  using Entry = std::pair<uint64_t, meta::Intent>;
  // REQUIRES: once, before the first add().
  Result<std::vector<Entry>> scan();

  uint64_t add(meta::Batch& batch, const meta::Intent& intent);
  void change(meta::Batch& batch, uint64_t seq, const meta::Intent& intent);
  void done(meta::Batch& batch, uint64_t seq);

 private:
  meta::MetaStore& store_;
  std::atomic<uint64_t> next_{1};
};

}  // namespace s3cache::core
