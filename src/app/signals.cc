#include "app/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.h"

namespace s3cache::app {
namespace {

sigset_t handled() {
  sigset_t set;
  sigemptyset(&set);
  for (const int sig : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&set, sig);
  return set;
}

void next_log_level() {
  // Each step shows more; behind debug it starts again at crit.
  const int level = static_cast<int>(log::level());
  const log::Level next = level == static_cast<int>(log::Level::kDebug) || log::level() == log::Level::kSilent
                              ? log::Level::kCritical
                              : static_cast<log::Level>(level - 1);
  log::set_level(next);
  log::write(log::Level::kCritical, fmt::format("log level is now {}", static_cast<int>(next)));
}

void reopen_log() {
  if (const Status status = log::reopen(); !status) log::error("log file: {}", status.error().message);
}

}  // namespace

void Signals::block() {
  const sigset_t set = handled();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A starter that went away, or a socket's other end, is an error code and not the end.
  std::signal(SIGPIPE, SIG_IGN);
}

Signals::Signals() {
  const sigset_t set = handled();
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
  quit_.reset(::eventfd(0, EFD_CLOEXEC));
  thread_ = std::thread([this] { run(); });
}

Signals::~Signals() {
  const uint64_t one = 1;
  while (::write(quit_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  thread_.join();
}

void Signals::run() {
  for (;;) {
    pollfd fds[2] = {{signals_.get(), POLLIN, 0}, {quit_.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      log::error("signals are no longer heard: poll: {}", errno);
      return;
    }
    if (fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) continue;
    switch (info.ssi_signo) {
      case SIGTERM:
      case SIGINT:
        request_stop();
        break;
      case SIGHUP:
        reopen_log();
        break;
      case SIGUSR2:
        next_log_level();
        break;
      default:
        break;
    }
  }
}

void Signals::request_stop() {
  std::function<void()> callback;
  {
    MutexLock lock(mu_);
    requested_ = true;
    callback = std::exchange(callback_, nullptr);
    if (!callback) return;
    running_ = true;
  }
  callback();
  MutexLock lock(mu_);
  running_ = false;
  idle_.notify_all();
}

void Signals::on_stop(std::function<void()> callback) {
  {
    MutexLock lock(mu_);
    while (running_) idle_.wait(mu_);
    callback_ = nullptr;
    if (!requested_ || !callback) {
      callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

bool Signals::stop_requested() {
  MutexLock lock(mu_);
  return requested_;
}

}  // namespace s3cache::app
