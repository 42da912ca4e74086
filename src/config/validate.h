// The rules that need more than one option: bucket and prefix, endpoint, exclusive pairs.
//
// Threads: start-up only. Errors: kInvalid, naming the thing and the way out.
#pragma once

#include "base/result.h"
#include "config/config.h"

namespace s3cache::config {

// Checks `config` and brings bucket, prefix, url and servicepath into their final form (config.h says which).
Status validate(Config& config);

}  // namespace s3cache::config
