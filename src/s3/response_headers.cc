#include "s3/response_headers.h"

#include <array>
#include <charconv>
#include <ctime>

namespace s3cache::s3 {

namespace {

std::string_view trim(std::string_view s) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

// Exactly `digits` decimal digits, taken off the front.
bool take_number(std::string_view& s, size_t digits, int& out) {
  if (s.size() < digits) return false;
  int v = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (s[i] < '0' || s[i] > '9') return false;
    v = v * 10 + (s[i] - '0');
  }
  s.remove_prefix(digits);
  out = v;
  return true;
}

bool take_char(std::string_view& s, char c) {
  if (s.empty() || s.front() != c) return false;
  s.remove_prefix(1);
  return true;
}

std::optional<int64_t> to_unix(int year, int month, int day, int hour, int minute, int second) {
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
      second > 60)
    return std::nullopt;
  tm t{};
  t.tm_year = year - 1900;
  t.tm_mon = month - 1;
  t.tm_mday = day;
  t.tm_hour = hour;
  t.tm_min = minute;
  t.tm_sec = second;
  const int64_t s = timegm(&t);
  if (t.tm_mday != day) return std::nullopt;  // 31 February moved on
  return s;
}

bool take_clock(std::string_view& s, int& hour, int& minute, int& second) {
  return take_number(s, 2, hour) && take_char(s, ':') && take_number(s, 2, minute) && take_char(s, ':') &&
         take_number(s, 2, second);
}

constexpr std::array<std::string_view, 7> kKept = {
    "content-type",     "cache-control", "content-encoding",   "content-disposition",
    "content-language", "expires",       "x-amz-storage-class"};

}  // namespace

bool is_kept_header(std::string_view name) {
  if (name.substr(0, 11) == "x-amz-meta-") return true;
  for (const auto k : kKept)
    if (k == name) return true;
  return false;
}

std::optional<int64_t> parse_http_date(std::string_view text) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  std::string_view s = trim(text);
  const size_t comma = s.find(',');
  if (comma == std::string_view::npos || comma > 9) return std::nullopt;
  s.remove_prefix(comma + 1);
  int day = 0, year = 0, hour = 0, minute = 0, second = 0;
  if (!take_char(s, ' ') || !take_number(s, 2, day) || !take_char(s, ' ') || s.size() < 3)
    return std::nullopt;
  const size_t at = kMonths.find(s.substr(0, 3));
  if (at == std::string_view::npos || at % 3 != 0) return std::nullopt;
  s.remove_prefix(3);
  if (!take_char(s, ' ') || !take_number(s, 4, year) || !take_char(s, ' ') ||
      !take_clock(s, hour, minute, second))
    return std::nullopt;
  if (s != " GMT" && s != " UTC") return std::nullopt;
  return to_unix(year, static_cast<int>(at / 3) + 1, day, hour, minute, second);
}

std::optional<int64_t> parse_rfc3339(std::string_view text) {
  std::string_view s = trim(text);
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!take_number(s, 4, year) || !take_char(s, '-') || !take_number(s, 2, month) || !take_char(s, '-') ||
      !take_number(s, 2, day) || !(take_char(s, 'T') || take_char(s, 't') || take_char(s, ' ')) ||
      !take_clock(s, hour, minute, second))
    return std::nullopt;
  if (take_char(s, '.')) {
    const size_t digits = std::min(s.find_first_not_of("0123456789"), s.size());
    if (digits == 0) return std::nullopt;
    s.remove_prefix(digits);
  }
  int64_t offset = 0;
  if (!take_char(s, 'Z') && !take_char(s, 'z')) {
    const bool plus = take_char(s, '+');
    int oh = 0, om = 0;
    if ((!plus && !take_char(s, '-')) || !take_number(s, 2, oh) || !take_char(s, ':') ||
        !take_number(s, 2, om))
      return std::nullopt;
    offset = (oh * 60 + om) * 60 * (plus ? 1 : -1);
  }
  if (!s.empty()) return std::nullopt;
  const auto t = to_unix(year, month, day, hour, minute, second);
  if (!t) return std::nullopt;
  return *t - offset;
}

std::optional<int64_t> parse_size(std::string_view text) {
  const std::string_view s = trim(text);
  int64_t v = 0;
  if (s.empty() || s.front() == '-' || s.front() == '+') return std::nullopt;
  const auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (ec != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return v;
}

std::string normalize_etag(std::string_view text) {
  std::string_view s = trim(text);
  if (s.substr(0, 2) == "W/" || s.substr(0, 2) == "w/") return {};
  if (s.size() >= 2 && s.front() == '"' && s.back() == '"') s = s.substr(1, s.size() - 2);
  // It goes back into If-Match headers: what could end the header or the quotes is no ETag. 1,024 is far
  // above any real one (S3 has at most 38 bytes).
  for (const char c : s)
    if (static_cast<unsigned char>(c) <= 0x20 || c == '"' || c == 0x7f) return {};
  if (s.size() > 1024) return {};
  return std::string(s);
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  std::string_view s = trim(text);
  if (s.substr(0, 6) != "bytes ") return std::nullopt;
  s.remove_prefix(6);
  const size_t dash = s.find('-');
  const size_t slash = s.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const auto first = parse_size(s.substr(0, dash));
  const auto last = parse_size(s.substr(dash + 1, slash - dash - 1));
  const auto total = parse_size(s.substr(slash + 1));
  if (!first || !last || !total || *first > *last || *last >= *total) return std::nullopt;
  return ContentRange{*first, *last, *total};
}

void ResponseHeaders::keep(std::string name, std::string_view value) {
  if (kept_bytes_ + name.size() + value.size() > kKeptBytes) return;
  kept_bytes_ += name.size() + value.size();
  kept.emplace_back(std::move(name), value);
}

void ResponseHeaders::add_line(std::string_view line) {
  if (line.substr(0, 5) == "HTTP/") {
    *this = {};
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) {
      std::string_view s = line.substr(space + 1);
      if (!take_number(s, 3, status)) status = 0;
    }
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon > 256) return;
  std::string name(trim(line.substr(0, colon)));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const std::string_view value = trim(line.substr(colon + 1));
  if (name == "content-length") {
    const auto v = parse_size(value);
    // Two different lengths: somebody in the middle splits answers.
    bad_length = bad_length || !v || (content_length && *content_length != *v);
    content_length = v;
  } else if (name == "content-range") {
    content_range = parse_content_range(value);
    bad_length = bad_length || !content_range;
  } else if (name == "etag") {
    etag = normalize_etag(value);
  } else if (name == "last-modified") {
    last_modified = parse_http_date(value).value_or(0);
  } else if (name == "date") {
    date = parse_http_date(value).value_or(0);
  } else if (name == "x-amz-bucket-region") {
    bucket_region = std::string(value.substr(0, 64));
  } else if (name == "x-amz-checksum-crc32c") {
    checksum_crc32c = std::string(value.substr(0, 64));
  } else if (name == "retry-after") {
    retry_after_s = parse_size(value);
    if (!retry_after_s) retry_after_date = parse_http_date(value);
  } else if (is_kept_header(name)) {
    keep(std::move(name), value);
  }
}

ObjectInfo ResponseHeaders::object_info() const {
  ObjectInfo info;
  info.etag = etag;
  info.last_modified = last_modified;
  info.server_date = date;
  info.headers = kept;
  return info;
}

}  // namespace s3cache::s3
