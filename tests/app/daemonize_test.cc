#include "app/daemonize.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>

#include "app/subprocess.h"

using s3cache::app::Launcher;
using s3cache::test::Ended;
using s3cache::test::run_in_process;

namespace {

// The starter, with `child` as what the background process does.
Ended start(const std::function<void(Launcher&)>& child) {
  return run_in_process([&] {
    std::signal(SIGPIPE, SIG_IGN);
    Launcher launcher("prog", false);
    if (const auto exit_code = launcher.launch()) return *exit_code;
    child(launcher);
    return 0;
  });
}

}  // namespace

TEST_CASE("the starter leaves with 0 only when the child is ready") {
  const Ended ended = start([](Launcher& launcher) { launcher.ready(); });
  CHECK(ended.exit_code == 0);
  CHECK(ended.err.empty());
}

TEST_CASE("a failed start is one line and exit code 1") {
  const Ended ended = start([](Launcher& launcher) { launcher.fail("bucket x: gone\nfor good"); });
  CHECK(ended.exit_code == 1);
  CHECK(ended.err == "prog: bucket x: gone for good\n");
}

TEST_CASE("a child that dies without a word is a failed start") {
  const Ended killed = start([](Launcher&) { ::raise(SIGKILL); });
  CHECK(killed.exit_code == 1);
  CHECK(killed.err ==
        "prog: the background process ended during the start (signal 9): run again with -f -d to see why\n");
  const Ended left = start([](Launcher&) { ::_exit(7); });
  CHECK(
      left.err ==
      "prog: the background process ended during the start (exit code 7): run again with -f -d to see why\n");
}

TEST_CASE("a ready child has left the starter's session, folder and descriptors") {
  int inherited[2];
  REQUIRE(::pipe(inherited) == 0);
  int report[2];
  REQUIRE(::pipe(report) == 0);
  // The report's pipe is standard output, which the child keeps until it is ready.
  const int saved = ::dup(STDOUT_FILENO);
  ::dup2(report[1], STDOUT_FILENO);
  const Ended ended = start([&](Launcher& launcher) {
    const bool closed = ::fcntl(inherited[1], F_GETFD) < 0;
    const int out = ::dup(STDOUT_FILENO);
    const pid_t before = ::getsid(0);
    launcher.ready();
    char folder[64] = "";
    std::string text = ::getsid(0) != before ? "own session," : "";
    if (::getcwd(folder, sizeof(folder)) != nullptr) text += folder;
    text += closed ? ",closed" : ",open";
    if (::write(out, text.data(), text.size()) < 0) ::_exit(1);
  });
  ::dup2(saved, STDOUT_FILENO);
  for (const int fd : {saved, report[1], inherited[0], inherited[1]}) ::close(fd);
  std::string text;
  char buffer[64];
  for (ssize_t n; (n = ::read(report[0], buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  ::close(report[0]);
  CHECK(ended.exit_code == 0);
  CHECK(text == "own session,/,closed");
}

TEST_CASE("a child whose starter is gone hears so") {
  const Ended ended = run_in_process([] {
    std::signal(SIGPIPE, SIG_IGN);
    Launcher launcher("prog", false);
    const pid_t starter = ::getpid();
    if (const auto exit_code = launcher.launch()) return *exit_code;
    ::kill(starter, SIGKILL);
    // Orphaned means: the starter and its end of the pipe are gone.
    while (::getppid() == starter) ::usleep(1000);
    const bool wanted = launcher.ready();
    const std::string word = wanted ? "wanted" : "unwanted";
    if (::write(STDERR_FILENO, word.data(), word.size()) < 0) return 1;
    return 0;
  });
  CHECK(ended.err == "unwanted");
}

TEST_CASE("in the foreground nothing forks") {
  const Ended ended = run_in_process([] {
    Launcher launcher("prog", true);
    if (launcher.launch().has_value() || !launcher.ready()) return 9;
    return launcher.fail("no");
  });
  CHECK(ended.exit_code == 1);
  CHECK(ended.err == "prog: no\n");
}
