// Readahead: turns the reads of one file into "fetch this now" and "fetch that ahead". Pure logic, no I/O.
//
// Streams belong to the file, not to the descriptor: up to eight run at once, so two threads on one
// descriptor, a reader of the tail (zip, npz, parquet look at the end first) or a seek disturb no other
// stream. A stream's window starts at 1 MiB, doubles each time its reader proves it goes on, and ends at
// max_window. Reads that belong to no stream fetch their pages, at least min_fetch, which shrinks while small
// random reads find nothing of what was fetched around them. Tolerances: 1 MiB back (the kernel's own
// readahead arrives out of order), one window forward. Threads: none of its own; the Content that owns it
// calls it under its lock. Units: bytes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cache/page_map.h"

namespace s3cache::core {

struct ReadaheadOptions {
  int64_t min_fetch = 128 << 10;
  int64_t max_window = 64 << 20;
  int64_t max_part = 16 << 20;  // one GET
};

struct Advice {
  cache::Run now{0, 0};             // covers the read, page-aligned (or to the end of the file)
  cache::Run ahead{0, 0};           // length 0: nothing
  int64_t part = 0;                 // size of one GET within `ahead`, and of `now` where it starts a stream
  std::vector<cache::Run> strided;  // further ranges of a regular stride
};

class Readahead {
 public:
  explicit Readahead(const ReadaheadOptions& options) : options_(options), min_fetch_(options.min_fetch) {}

  // A read of [offset, offset + length) of a file of `size`. `hit`: all of it was cached already.
  // REQUIRES: 0 <= offset < size, length > 0.
  Advice on_read(int64_t offset, int64_t length, int64_t size, bool hit);
  // What on_read() advised to fetch ahead was not started (no memory): a later read advises it again.
  void not_fetched(cache::Run run);
  int64_t min_fetch() const { return min_fetch_; }

 private:
  struct Stream {
    int64_t next = -1;  // where the reader is expected; -1: free
    int64_t window = 0;
    int64_t ahead_to = 0;  // everything before this was asked for
    int64_t run = 0;       // bytes read in order
    uint64_t used = 0;
  };
  Stream* find(int64_t offset, int64_t length);
  Stream& recycle();
  void advance(Stream& s, int64_t offset, int64_t length, int64_t size, Advice& advice);
  void random_read(int64_t offset, int64_t length, int64_t size, bool hit, Advice& advice);
  void detect_stride(int64_t offset, int64_t length, int64_t size, Advice& advice);

  const ReadaheadOptions options_;
  std::array<Stream, 8> streams_{};
  uint64_t tick_ = 0;
  int64_t min_fetch_;
  int random_misses_ = 0, random_hits_ = 0;
  int64_t last_offset_ = -1, last_delta_ = 0;
  int stride_count_ = 0;
};

}  // namespace s3cache::core
