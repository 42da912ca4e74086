// pread and pwrite that finish what they began: interrupted and partial calls go on. Threads: pure functions.
// Errors: those of the system call, as errno_error(); `what` names the file.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace s3cache::cache {

Status write_all(int fd, int64_t offset, std::span<const std::byte> data, const std::string& what);
// The bytes read, short only at the end of the file, or -errno: a caller that answers from memory pays for no
// name.
ssize_t read_fully(int fd, int64_t offset, std::span<std::byte> out);
// The same; where the bytes are not in memory yet, `window` bytes from there on are asked of the disk at
// once. Several workers read one stream in no strict order, which the kernel's own readahead takes for
// random.
ssize_t read_with_ahead(int fd, int64_t offset, std::span<std::byte> out, int64_t window);

}  // namespace s3cache::cache
