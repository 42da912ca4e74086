// Format: figures and names for people. Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace s3cache::ctl {

std::string bytes_text(int64_t bytes);       // "999 B", "1.5 KiB", "12 MiB"
std::string duration_text(int64_t seconds);  // "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"
std::string count_text(int64_t n, std::string_view one, std::string_view many);  // "1 file", "3 files"
// Control characters as \xNN: a key may hold what moves a terminal's cursor.
std::string printable(std::string_view text);

}  // namespace s3cache::ctl
