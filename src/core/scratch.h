// One scratch buffer a thread for answers that are copied out at once: no allocation on the hit path.
// Threads: each has its own. The bytes are valid until the thread's next call.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace s3cache::core {

inline std::span<std::byte> scratch(size_t length) {
  static thread_local std::unique_ptr<std::byte[]> buffer;
  static thread_local size_t capacity = 0;
  if (capacity < length) {
    buffer = std::make_unique_for_overwrite<std::byte[]>(length);
    capacity = length;
  }
  return {buffer.get(), length};
}

}  // namespace s3cache::core
