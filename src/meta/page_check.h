// check_pages: reads every page of a store that was not closed cleanly, before LMDB trusts it.
//
// LMDB has no checksums: a page of garbage is an assertion, a wild pointer or a wrong answer, whichever comes
// first. So nothing here maps the file or calls LMDB: pages are read with pread and every offset is checked
// before it is followed, which makes the check itself safe on any bytes (a disk's read error is an error, not
// a SIGBUS) and needs no child process to die in its place. Checked: page numbers, kinds and bounds, order of
// keys and separators, depth and counts of each tree, that no page is used twice nor also free, and that
// every record decodes. Garbage inside a record that still decodes is not found.
//
// It stops at a deadline, so that a start stays below a second: the free list and the trees that decide most
// come first, inodes last. 2 million records (217 MiB, warm) take 0.2 s. What was left out is caught while
// running (LmdbEnv::report_damage). Threads: any. Owns: nothing. Errors: kCorrupt with the page, kIo.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace s3cache::meta {

struct CheckOptions {
  std::chrono::milliseconds budget{400};
  bool values = true;  // records must decode
};

struct CheckResult {
  uint64_t pages = 0;
  bool complete = true;  // false: the time was over first
};

// REQUIRES: check_store_file() was content, nobody writes the file.
Result<CheckResult> check_pages(const std::string& path, const CheckOptions& options);

}  // namespace s3cache::meta
