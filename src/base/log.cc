#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>

#include <cerrno>
#include <exception>
#include <memory>

#include "base/sync.h"

namespace s3cache::log {

namespace detail {
std::atomic<int> threshold{static_cast<int>(Level::kWarn)};
}

namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kCritical:
      return spdlog::level::critical;
    case Level::kSilent:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

std::string pattern(const Options& options) {
  // '%' introduces a field of spdlog, so one in the program's name is doubled.
  std::string ident;
  for (const char c : options.ident) ident.append(c == '%' ? 2 : 1, c);
  std::string p = options.timestamps ? "%Y-%m-%dT%H:%M:%S.%e%z " : "";
  if (!ident.empty() && options.sink == Sink::kStderr) p += ident + ": ";
  return p + "[%l] %v";
}

using LoggerPtr = std::shared_ptr<spdlog::logger>;

Result<LoggerPtr> make_logger(const Options& options) {
  try {
    spdlog::sink_ptr sink;
    if (options.sink == Sink::kFile)
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    else if (options.sink == Sink::kSyslog)
      sink = std::make_shared<spdlog::sinks::syslog_sink_mt>(options.ident, LOG_PID, LOG_USER, false);
    else
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::logger>("s3cache", std::move(sink));
    logger->set_level(spdlog::level::trace);  // threshold decides
    logger->flush_on(spdlog::level::trace);   // the last words before a crash must be in the file
    logger->set_pattern(pattern(options));
    // A full disk must not fill stderr with spdlog's own complaints, nor end the process.
    logger->set_error_handler([](const std::string&) {});
    return logger;
  } catch (const spdlog::spdlog_ex& e) {
    // spdlog's own words end in the reason, too.
    if (errno != 0) return errno_error(errno, "log file " + options.file);
    return Error{Code::kIo, std::string("log file: ") + e.what()};
  } catch (const std::exception& e) {
    return Error{Code::kIo, std::string("log: ") + e.what()};
  }
}

struct State {
  Mutex mu;
  Options options GUARDED_BY(mu);
  LoggerPtr logger GUARDED_BY(mu);
};

// Never destroyed: threads may still log while the process exits.
State& state() {
  static State& s = *new State;
  return s;
}

LoggerPtr current() {
  State& s = state();
  MutexLock l(s.mu);
  if (!s.logger) {
    auto made = make_logger(s.options);
    if (made.ok()) s.logger = *made;
  }
  return s.logger;
}

// A key of a hostile bucket may hold line feeds or terminal escapes; they must not forge lines of the log.
std::string printable(std::string_view message) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(message.size());
  for (const char c : message) {
    const auto b = static_cast<uint8_t>(c);
    if (b >= 0x20 && b != 0x7f) {
      out.push_back(c);
      continue;
    }
    out += "\\x";
    out.push_back(kHex[b >> 4]);
    out.push_back(kHex[b & 15]);
  }
  return out;
}

}  // namespace

Status init(const Options& options) {
  auto made = make_logger(options);
  if (!made.ok()) return made.error();
  State& s = state();
  {
    MutexLock l(s.mu);
    s.options = options;
    s.logger = *made;
  }
  set_level(options.level);
  return {};
}

Status reopen() {
  State& s = state();
  MutexLock l(s.mu);
  if (s.options.sink != Sink::kFile) return {};
  auto made = make_logger(s.options);
  if (!made.ok()) return made.error();  // the old file goes on
  s.logger = *made;
  return {};
}

void set_level(Level level) { detail::threshold.store(static_cast<int>(level), std::memory_order_relaxed); }

Level level() { return static_cast<Level>(detail::threshold.load(std::memory_order_relaxed)); }

void write(Level level, std::string_view message) {
  if (level == Level::kSilent) return;
  if (const LoggerPtr logger = current()) logger->log(to_spdlog(level), printable(message));
}

std::string mask(std::string_view secret) {
  // Short secrets show nothing: four of eight bytes would be half of it.
  if (secret.size() < 12) return "****";
  return std::string(secret.substr(0, 4)) + "****";
}

}  // namespace s3cache::log
