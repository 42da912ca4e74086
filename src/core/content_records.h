// The records of cache files: how a Content's progress goes into the store and comes back.
// Threads: any; the caller serialises writers of one file's records. Errors: an unreadable record counts as
// absent.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "cache/cache_file.h"
#include "core/content.h"
#include "core/inodes.h"
#include "meta/meta_store.h"
#include "meta/records.h"

namespace s3cache::core {

std::optional<meta::File> read_file_record(meta::MetaStore& store, uint64_t fid);

// Valid pages of a file that is on disk.
void load_pages(meta::MetaStore& store, cache::CacheFile& file, bool sealed);
// Its checksums: for whoever reads it here. What passthrough reads needs none: one in ten of the records of a
// warm open.
void load_checksums(meta::MetaStore& store, cache::CacheFile& file);

// Writes what changed since the last call: file record, page maps and checksums, and the inode's fid, in one
// batch. False: the inode has moved on to another version or is gone, and nothing was written. A sealed file
// needs no page maps.
bool write_content_record(Inodes& inodes, Content& content, bool sealed, uint64_t policy_key, int64_t now_s);

// Erases the records of one table (kMap or kCrc) that a file of `size` may have.
void erase_chunks(meta::Batch& batch, meta::Table table, uint64_t fid, int64_t size);

// Marks files as safe against a power cut, except those that `skip` names.
void mark_synced(meta::MetaStore& store, const std::vector<uint64_t>& fids,
                 const std::function<bool(uint64_t fid)>& skip);

}  // namespace s3cache::core
