// Logging: levels as s3fs names them, one call per level, spdlog behind it (only log.cc sees spdlog).
//
// Messages name the thing (key, path, option) and never hold a secret: mask() what comes from credentials.
// Threads: any. A call below the level costs one relaxed load.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace s3cache::log {

enum class Level : int { kDebug = 0, kInfo = 1, kWarn = 2, kError = 3, kCritical = 4, kSilent = 5 };

enum class Sink { kStderr, kSyslog, kFile };

struct Options {
  Level level = Level::kWarn;
  Sink sink = Sink::kStderr;
  std::string file = {};   // for kFile
  std::string ident = {};  // program name in front of syslog and stderr lines
  bool timestamps = true;  // off: no_time_stamp_msg
};

// Replaces the process's sink. Errors: the file cannot be opened.
Status init(const Options& options);
// Opens the log file again (SIGHUP, log rotation). No effect for the other sinks.
Status reopen();
void set_level(Level level);
Level level();

void write(Level level, std::string_view message);

namespace detail {
extern std::atomic<int> threshold;
}
inline bool enabled(Level l) {
  return static_cast<int>(l) >= detail::threshold.load(std::memory_order_relaxed);
}

template <class... A>
void debug(fmt::format_string<A...> f, A&&... a) {
  if (enabled(Level::kDebug)) write(Level::kDebug, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void info(fmt::format_string<A...> f, A&&... a) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void warn(fmt::format_string<A...> f, A&&... a) {
  if (enabled(Level::kWarn)) write(Level::kWarn, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void error(fmt::format_string<A...> f, A&&... a) {
  if (enabled(Level::kError)) write(Level::kError, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void critical(fmt::format_string<A...> f, A&&... a) {
  if (enabled(Level::kCritical)) write(Level::kCritical, fmt::format(f, std::forward<A>(a)...));
}

// "AKIA****" for a key id or secret: the first four bytes at most.
std::string mask(std::string_view secret);

}  // namespace s3cache::log
