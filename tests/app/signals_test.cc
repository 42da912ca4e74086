#include "app/signals.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>

#include "base/log.h"

using namespace s3cache;
using app::Signals;

TEST_CASE("a stop runs what was set, once") {
  Signals::block();
  Signals signals;
  std::promise<void> stopped;
  signals.on_stop([&] { stopped.set_value(); });
  CHECK_FALSE(signals.stop_requested());
  ::kill(::getpid(), SIGTERM);
  REQUIRE(stopped.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  CHECK(signals.stop_requested());
  // A second promise would throw if the callback ran again.
  signals.on_stop(nullptr);
}

TEST_CASE("a stop that came early meets the next callback at once") {
  Signals::block();
  Signals signals;
  std::promise<void> first;
  signals.on_stop([&] { first.set_value(); });
  ::kill(::getpid(), SIGINT);
  first.get_future().wait();
  bool ran = false;
  signals.on_stop([&] { ran = true; });
  CHECK(ran);
}

TEST_CASE("SIGUSR2 steps through the log levels, SIGHUP opens the file again") {
  Signals::block();
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "s3cache-signals-test.log";
  REQUIRE(
      log::init({.level = log::Level::kInfo, .sink = log::Sink::kFile, .file = file, .ident = "test"}).ok());
  Signals signals;
  const auto wait_until = [](const std::function<bool()>& condition) {
    for (int i = 0; i < 10'000 && !condition(); ++i) ::usleep(1000);
    return condition();
  };
  ::kill(::getpid(), SIGUSR2);
  CHECK(wait_until([] { return log::level() == log::Level::kDebug; }));
  ::kill(::getpid(), SIGUSR2);
  CHECK(wait_until([] { return log::level() == log::Level::kCritical; }));
  ::kill(::getpid(), SIGUSR2);
  CHECK(wait_until([] { return log::level() == log::Level::kError; }));

  std::filesystem::rename(file, file.string() + ".1");
  ::kill(::getpid(), SIGHUP);
  CHECK(wait_until([&] { return std::filesystem::exists(file); }));
  REQUIRE(
      log::init({.level = log::Level::kWarn, .sink = log::Sink::kStderr, .file = "", .ident = "test"}).ok());
  std::filesystem::remove(file);
  std::filesystem::remove(file.string() + ".1");
}
