// Puts the rooms of core together: one Filesystem over a store, a cache folder and a client.
#pragma once

#include <memory>

#include "base/clock.h"
#include "cache/budget.h"
#include "cache/cache_dir.h"
#include "core/filesystem.h"
#include "core/object_headers.h"
#include "core/readahead.h"
#include "meta/meta_store.h"
#include "s3/s3_client.h"

namespace s3cache::core {

struct FilesystemOptions {
  NamespaceOptions names;
  ReadaheadOptions readahead;
  cache::BudgetOptions budget;
  std::string prefix;                      // of the mount: "" or "a/b/"
  int64_t mem_limit = 256 << 20;           // bytes in flight and in RAM
  size_t cache_fds = 64;                   // idle descriptors of cache files
  int64_t bucket_size = int64_t{1} << 56;  // what statfs shows
  int disk_threads = 2;
  int64_t scrub_interval_s = 0;  // between the beginnings of two passes; 0: none
  bool read_only = true;         // nothing is replayed, nothing is changed
  UploadOptions upload;
};

struct FilesystemParts {  // borrowed; all outlive the Filesystem
  meta::MetaStore& store;
  cache::CacheDir& dir;
  s3::S3Client& s3;
  ChangeListener* listener;  // may be nullptr
  Clock& clock;
};

// REQUIRES, at the end: every OpenFile and DirHandle is gone before the Filesystem is; its destructor shuts
// the client down, waits for the disk and records what the cache holds.
Result<std::unique_ptr<Filesystem>> make_filesystem(const FilesystemParts& parts,
                                                    const FilesystemOptions& options);

}  // namespace s3cache::core
