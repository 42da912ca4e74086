// From the mount's one Config to the options of each floor: the only place that knows both spellings.
// Threads: pure functions, but s3_options, which reads proxy_cred_file.
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "cache/cache_dir.h"
#include "config/config.h"
#include "core/make_filesystem.h"
#include "fuse/options.h"
#include "s3/options.h"
#include "s3/role_credentials.h"

namespace s3cache::app {

log::Options log_options(const config::Config& config);

Result<s3::S3Options> s3_options(const config::Config& config,
                                 std::shared_ptr<s3::CredentialsProvider> credentials);

// REQUIRES: iam_role or ecs is set. kInvalid: an address in the environment that is none.
Result<s3::RoleOptions> role_options(const config::Config& config);

// root: use_cache, or the private folder.
cache::CacheDirOptions cache_dir_options(const config::Config& config, const std::string& root);

// total: bytes of the cache's file system, for free_space_ratio.
int64_t min_free_bytes(const config::Config& config, int64_t total);
core::FilesystemOptions filesystem_options(const config::Config& config, int64_t min_free);

fuse::Options fuse_options(const config::Config& config, const std::string& mount_point,
                           const std::string& cache_path);

}  // namespace s3cache::app
