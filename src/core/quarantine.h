// Quarantine: bytes of this mount that S3 must not get any more (their base version was replaced), kept for a
// person.
//
// CacheDir's recover/ gets <ino>-<fid>.data, a link to the work file, and <ino>-<fid>.json: key, base ETag,
// size, and which ranges are this mount's own. A cache file of a store that was beyond repair is kept there
// without a note (CacheDir::purge_trash). `s3cache recover` shows, restores and drops them, mounted or not.
// Threads: any. Errors: kIo, kNoSpace, kNotFound. Units: bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/cache_dir.h"
#include "core/draft.h"

namespace s3cache::core {

Status quarantine(cache::CacheDir& dir, const std::string& key, const Draft& draft);

struct Quarantined {
  std::string name;       // what `recover` calls it
  std::string data_path;  // empty: the note alone is left
  std::string key;        // empty: nobody knows any more
  std::string base_etag;
  int64_t size = 0;
  int64_t kept_bytes = 0;     // of this mount's changes
  std::vector<Range> ranges;  // where they lie
  int64_t kept_at_s = 0;      // UNIX time
  bool complete = false;      // the file has every byte; else what is not in `ranges` reads as zeros
};

// Of one cache folder, by name. An unreadable note is an entry without a key.
Result<std::vector<Quarantined>> list_quarantine(const std::string& cache_folder);
// Removes data and note for good.
Status drop_quarantined(const std::string& cache_folder, const std::string& name);

}  // namespace s3cache::core
