// pread and pwrite that finish what they began: interrupted and partial calls go on. Threads: pure functions.
// Errors: those of the system call, as errno_error(); `what` names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace s3cache::cache {

Status write_all(int fd, int64_t offset, std::span<const std::byte> data, const std::string& what);
// Short only at the end of the file.
Result<size_t> read_all(int fd, int64_t offset, std::span<std::byte> out, const std::string& what);

}  // namespace s3cache::cache
