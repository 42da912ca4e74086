// Strict readers of option values: the whole text must be a value, nothing is guessed.
//
// Threads: pure functions, but user_id and group_id, which ask NSS. Errors: nullopt; the caller knows the
// option's name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace s3cache::config {

// Decimal digits with an optional sign.
std::optional<int64_t> parse_int(std::string_view text);
// "64" counts in `scale` bytes; "64M", "64MB" and "64MiB" are 64 x 2^20 bytes. Negative or over 2^63 - 1:
// nullopt.
std::optional<int64_t> parse_size(std::string_view text, int64_t scale);
// "900", "900s", "15m", "1h", "2d" in seconds.
std::optional<int64_t> parse_duration(std::string_view text);
// "22", "022", "0777": up to 0777.
std::optional<int64_t> parse_octal(std::string_view text);
std::optional<int64_t> user_id(const std::string& text);
std::optional<int64_t> group_id(const std::string& text);

// "10G", "128K", "5": the shortest exact spelling, which parse_size(text, 1) reads back.
std::string format_size(int64_t bytes);

// Number of inserted, dropped, changed or swapped letters between a and b.
int edit_distance(std::string_view a, std::string_view b);

std::string to_lower(std::string_view text);

}  // namespace s3cache::config
