// Quarantine: bytes of this mount that S3 must not get any more (their base version was replaced), kept for a
// person.
//
// CacheDir's recover/ gets <ino>-<fid>.data, a link to the work file, and <ino>-<fid>.json: key, base ETag,
// size, and which ranges are this mount's own. `s3cache recover` shows, restores and drops them. Threads:
// any. Errors: kIo, kNoSpace. Units: bytes.
#pragma once

#include <string>

#include "base/result.h"
#include "cache/cache_dir.h"
#include "core/draft.h"

namespace s3cache::core {

Status quarantine(cache::CacheDir& dir, const std::string& key, const Draft& draft);

}  // namespace s3cache::core
