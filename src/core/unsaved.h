// What a cache folder that nobody mounts holds for S3 or for a person: drafts, intents, uploads to abort,
// files set aside. Threads: one caller, who holds the folder's lock. Errors: none; what cannot be read counts
// as held.
#pragma once

#include <string>

namespace s3cache::core {

bool holds_unsaved(const std::string& cache_folder);

}  // namespace s3cache::core
