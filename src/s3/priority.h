// Priority: who waits for a request. Threads: a value.
#pragma once

#include <cstdint>

namespace s3cache::s3 {

enum class Priority : uint8_t {
  kForeground,  // somebody waits for it
  kBackground,  // readahead, preload, HEADs of siblings: started only while no foreground request queues
};

}  // namespace s3cache::s3
