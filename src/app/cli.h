// What the program prints besides the mount: help, version, one-line errors.
// Threads: any.
#pragma once

#include <string>

namespace s3cache::app {

inline constexpr const char* kVersion = "0.1.0";

std::string help_text(const std::string& program);
std::string version_text();

// "s3cache: <message>" on the standard error, always one line.
void print_error(const std::string& program, const std::string& message);

}  // namespace s3cache::app
