#include "app/daemonize.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "app/cli.h"

namespace s3cache::app {
namespace {

constexpr char kReady = 'R';   // followed by nothing
constexpr char kFailed = 'E';  // followed by the message

bool write_all(int fd, const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

std::string read_all(int fd) {
  std::string bytes;
  char buffer[1024];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

// A daemon keeps no folder busy, no terminal open and no pipe of its starter alive.
void leave_terminal() {
  ::setsid();
  if (::chdir("/") != 0) return;  // cannot fail for "/", and a daemon elsewhere still works
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
}

// Closes what the starter left open, which may be the pipe that somebody reads to its end; `fd` stays, as
// another number.
UniqueFd keep_only(UniqueFd fd) {
  constexpr int kFirst = STDERR_FILENO + 1;
  if (fd.get() != kFirst) {
    if (::dup3(fd.get(), kFirst, O_CLOEXEC) < 0) return fd;
    fd.reset(kFirst);
  }
  ::close_range(kFirst + 1, ~0U, 0);
  return fd;
}

}  // namespace

std::optional<int> Launcher::launch() {
  if (foreground_) return std::nullopt;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail(fmt::format("no pipe to the background process: {}", std::strerror(errno)));
  UniqueFd from_child(ends[0]), to_starter(ends[1]);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return fail(fmt::format("cannot start the background process: {}", std::strerror(errno)));
  if (pid > 0) {
    to_starter.reset();
    return wait_for_child(pid, std::move(from_child));
  }
  from_child.reset();
  to_starter_ = keep_only(std::move(to_starter));
  return std::nullopt;
}

int Launcher::wait_for_child(int pid, UniqueFd from_child) {
  const std::string report = read_all(from_child.get());
  if (report.starts_with(kReady)) return 0;
  if (report.starts_with(kFailed)) {
    print_error(program_, report.substr(1));
    return 1;
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string how = WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                                              : fmt::format("exit code {}", WEXITSTATUS(status));
  print_error(
      program_,
      fmt::format("the background process ended during the start ({}): run again with -f -d to see why",
                  how));
  return 1;
}

bool Launcher::ready() {
  if (foreground_) return true;
  if (!write_all(to_starter_.get(), std::string(1, kReady)))
    return false;  // EPIPE; SIGPIPE is ignored by then
  to_starter_.reset();
  leave_terminal();
  return true;
}

int Launcher::fail(const std::string& message) {
  if (!to_starter_ || !write_all(to_starter_.get(), kFailed + message)) print_error(program_, message);
  to_starter_.reset();
  return 1;
}

}  // namespace s3cache::app
