// The mount command, from a checked Config to the exit code.
#pragma once

#include "config/config.h"
#include "config/environment.h"

namespace s3cache::app {

// Does what can be checked without threads, goes into the background unless config says otherwise, mounts,
// serves, unmounts.
int mount_command(const config::Config& config, const config::Environment& env);

}  // namespace s3cache::app
