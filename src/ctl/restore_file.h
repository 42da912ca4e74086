// A file's copy that appears whole or not at all. Threads: any. Errors: kExists (and not `force`), those of
// the file systems; the copy's own close(2) counts, as on a mount it is the upload.
#pragma once

#include <string>

#include "base/result.h"

namespace s3cache::ctl {

Status restore_file(const std::string& from, const std::string& to, bool force);

}  // namespace s3cache::ctl
