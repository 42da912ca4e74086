// Named places where a test makes the process die by SIGKILL: between bytes, bits, records and answers.
//
// S3CACHE_TEST_CRASH=name:n,other:m arms them: whoever passes `name` for the n-th time writes "crash point
// name" to stderr and is gone, and all threads with it. Without it a point costs one relaxed load of a bool.
// Every name is a literal that stands in one place of the sources, where the crash test collects them.
// Threads: any.
#pragma once

#include <atomic>
#include <optional>
#include <string>

namespace s3cache {

extern std::atomic<bool> crash_points_armed;
void pass_crash_point(const char* name);

inline void crash_point(const char* name) {
  if (crash_points_armed.load(std::memory_order_relaxed)) pass_crash_point(name);
}

// What a test sets in the environment (S3CACHE_TEST_...), nothing in ordinary life.
std::optional<std::string> test_setting(const char* name);

}  // namespace s3cache
