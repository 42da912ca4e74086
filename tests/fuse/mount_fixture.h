// MountFixture: a FakeFilesystem on a real mount in a temporary directory.
// Threads: one test at a time; the mount serves from threads of its own.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "fuse/fake_filesystem.h"
#include "fuse/session.h"

namespace s3cache::fuse {

// Why mounts cannot be tested here; empty if they can.
inline std::string cannot_mount() {
  if (::geteuid() != 0) return "not root";
  if (::access("/dev/fuse", R_OK | W_OK) != 0) return "no /dev/fuse";
  return {};
}

#define SKIP_WITHOUT_FUSE()                                   \
  if (const std::string why = cannot_mount(); !why.empty()) { \
    WARN("skipped: " << why);                                 \
    return;                                                   \
  }

// Waits for a condition, ten seconds at most.
inline bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// A child that runs `f` and survives SIGUSR1, without SA_RESTART.
template <class F>
pid_t in_child(F&& f) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close_range(3, ~0u, 0);  // the session's descriptor: with it the child would keep a dead mount waiting
    struct sigaction sa {};
    sa.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &sa, nullptr);
    ::_exit(f());
  }
  return child;
}

// -1: killed. -2: still there after ten seconds; the end of the mount frees it.
inline int exit_code(pid_t child) {
  int status = -1;
  if (!eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; })) return -2;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct TempDir {
  std::string path;
  TempDir() {
    std::string name = "/tmp/s3cache-fuse-test-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

struct MountFixture {
  TempDir dir;
  std::string mnt = dir.path + "/mnt";
  std::string backing = dir.path + "/backing";
  Options options;
  std::unique_ptr<FakeFilesystem> fs;
  Notifier notifier;
  std::unique_ptr<Session> session;

  MountFixture() {
    ::mkdir(mnt.c_str(), 0755);
    ::mkdir(backing.c_str(), 0755);
    fs = std::make_unique<FakeFilesystem>(backing);
    fs->set_listener(&notifier);
    options.mountpoint = mnt;
    options.cache_dir = backing;
  }
  ~MountFixture() { unmount(); }

  void mount() {
    auto r = Session::mount(options, *fs, notifier, [this] { return fs->next_id(); });
    INFO((r.ok() ? std::string() : r.error().message));
    REQUIRE(r.ok());
    session = std::move(*r);
  }
  void unmount() { session.reset(); }
  std::string at(const std::string& name) const { return mnt + "/" + name; }

  // -errno or a descriptor.
  UniqueFd open(const std::string& name, int flags = O_RDONLY) {
    UniqueFd fd(::open(at(name).c_str(), flags | O_CLOEXEC));
    return fd;
  }
  std::string slurp(const std::string& name) {
    UniqueFd fd = open(name);
    return fd ? read_fd(fd.get()) : "open: " + std::string(::strerror(errno));
  }
  static std::string read_fd(int fd) {
    std::string out;
    char buf[65536];
    for (off_t off = 0;;) {
      const ssize_t n = ::pread(fd, buf, sizeof buf, off);
      if (n < 0) return "read: " + std::string(::strerror(errno));
      if (n == 0) return out;
      out.append(buf, static_cast<size_t>(n));
      off += n;
    }
  }
  struct stat stat(const std::string& name) {
    struct stat s {};
    if (::stat(at(name).c_str(), &s) != 0) s.st_ino = 0;
    return s;
  }
  bool passthrough() const { return session->passthrough(); }
};

struct WritableMount : MountFixture {
  WritableMount() {
    fs->set_writable(true);
    options.read_only = false;
  }
};

}  // namespace s3cache::fuse
