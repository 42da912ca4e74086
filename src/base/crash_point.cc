#include "base/crash_point.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>

namespace s3cache {

namespace {

using Armed = std::map<std::string, std::atomic<int>, std::less<>>;

// name -> passings that are left. Built before main() and never changed but for the counts.
Armed& armed() {
  static Armed points = [] {
    Armed out;
    const std::string text = test_setting("S3CACHE_TEST_CRASH").value_or("");
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find(',', at), text.size());
      const std::string_view entry = std::string_view(text).substr(at, end - at);
      const size_t colon = entry.find(':');
      int n = 1;
      if (colon != std::string_view::npos) std::from_chars(&entry[colon] + 1, entry.data() + entry.size(), n);
      out[std::string(entry.substr(0, colon))] = n;
      at = end + 1;
    }
    return out;
  }();
  return points;
}

}  // namespace

std::atomic<bool> crash_points_armed{!armed().empty()};

void pass_crash_point(const char* name) {
  const auto it = armed().find(std::string_view(name));
  if (it == armed().end() || it->second.fetch_sub(1) != 1) return;
  const std::string line = "crash point " + std::string(name) + "\n";
  (void)!::write(STDERR_FILENO, line.data(), line.size());
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

std::optional<std::string> test_setting(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace s3cache
