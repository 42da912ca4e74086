#include "config/values.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <vector>

namespace s3cache::config {
namespace {

constexpr std::string_view kSizeSuffixes = "KMGTP";  // 2^10, 2^20, ...

// The leading digits as a number; `text` loses them. No digits or too many: nullopt.
std::optional<int64_t> take_digits(std::string_view& text) {
  int64_t n = 0;
  const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (err != std::errc() || text.starts_with('-')) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return n;
}

std::optional<int64_t> multiply(int64_t n, int64_t by) {
  if (n > std::numeric_limits<int64_t>::max() / by) return std::nullopt;
  return n * by;
}

}  // namespace

std::optional<int64_t> parse_int(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto n = take_digits(text);
  if (!n || !text.empty()) return std::nullopt;
  return negative ? -*n : *n;
}

std::optional<int64_t> parse_size(std::string_view text, int64_t scale) {
  const auto n = take_digits(text);
  if (!n) return std::nullopt;
  if (text.empty()) return multiply(*n, scale);
  const char letter = text.front() >= 'a' ? static_cast<char>(text.front() - 'a' + 'A') : text.front();
  const size_t power = kSizeSuffixes.find(letter);
  const std::string rest = to_lower(text.substr(1));
  if (power == std::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib")) return std::nullopt;
  return multiply(*n, int64_t{1} << (10 * (power + 1)));
}

std::optional<int64_t> parse_duration(std::string_view text) {
  const auto n = take_digits(text);
  if (!n) return std::nullopt;
  if (text.empty() || text == "s") return n;
  if (text == "m") return multiply(*n, 60);
  if (text == "h") return multiply(*n, 3600);
  if (text == "d") return multiply(*n, 86400);
  return std::nullopt;
}

std::optional<int64_t> parse_octal(std::string_view text) {
  int n = 0;
  const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), n, 8);
  if (err != std::errc() || end != text.data() + text.size() || n < 0 || n > 0777) return std::nullopt;
  return n;
}

std::optional<int64_t> user_id(const std::string& text) {
  // (uid_t)-1 means "leave it" to chown(2), so it cannot be an owner.
  if (const auto n = parse_int(text)) return *n >= 0 && *n < 0xffffffff ? n : std::nullopt;
  const passwd* entry = getpwnam(text.c_str());
  if (entry == nullptr) return std::nullopt;
  return entry->pw_uid;
}

std::optional<int64_t> group_id(const std::string& text) {
  if (const auto n = parse_int(text)) return *n >= 0 && *n < 0xffffffff ? n : std::nullopt;
  const group* entry = getgrnam(text.c_str());
  if (entry == nullptr) return std::nullopt;
  return entry->gr_gid;
}

std::string format_size(int64_t bytes) {
  size_t power = 0;
  while (bytes != 0 && bytes % 1024 == 0 && power < kSizeSuffixes.size()) {
    bytes /= 1024;
    ++power;
  }
  std::string text = std::to_string(bytes);
  if (power > 0) text += kSizeSuffixes[power - 1];
  return text;
}

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table; the oldest is for swapped neighbours.
  std::vector<int> before(b.size() + 1), previous(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int change = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({previous[j] + 1, row[j - 1] + 1, change});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(previous);
    previous.swap(row);
  }
  return previous[b.size()];
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace s3cache::config
