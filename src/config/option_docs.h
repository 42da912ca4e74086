// What people read of the option table: the lists of --help and of s3cache(5).
// Threads: pure functions.
#pragma once

#include <string>

namespace s3cache::config {

// The options of --help: native ones with default and one line each, by group.
std::string options_help();

// The option section of s3cache(5) in mdoc(7), between the marker comments, both included. `s3cache
// --dump-man-options` prints it, and a test compares it with the page.
std::string options_mdoc();

inline constexpr const char* kManBegin = ".\\\" BEGIN OPTIONS (from s3cache --dump-man-options)\n";
inline constexpr const char* kManEnd = ".\\\" END OPTIONS\n";

}  // namespace s3cache::config
