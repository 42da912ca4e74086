// The command line, in every form s3fs takes, to a Config.
//
//   s3cache BUCKET[:/PREFIX] MOUNTPOINT [options]      s3cache MOUNTPOINT -o bucket=BUCKET[:/PREFIX]
//   s3cache s3fs MOUNTPOINT -o bucket=BUCKET           (what `s3fs MOUNTPOINT fuse.s3fs bucket=...` in fstab
//   becomes)
//
// Threads: start-up only. Errors: kInvalid and kUnsupported, one line that names the thing and the way out,
// without the program's name in front.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "config/environment.h"

namespace s3cache::config {

Result<Config> parse_command_line(const std::vector<std::string>& argv, const Environment& env);

// Splits "a,b=c\,d" at commas that no backslash escapes, and drops those backslashes. Empty pieces are
// skipped.
std::vector<std::string> split_mount_options(const std::string& text);

}  // namespace s3cache::config
