// Requests that wait for a stalled server: nobody else is held up, interrupts and the end of the mount reach
// them.
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

// A thread in one system call that a signal can end.
struct Caller {
  std::atomic<bool> done{false};
  std::atomic<int> err{0};
  std::thread thread;
  FakeFilesystem& fs;
  Caller(FakeFilesystem& f, std::function<long()> call) : fs(f) {
    struct sigaction sa {};
    sa.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &sa, nullptr);
    thread = std::thread([this, call = std::move(call)] {
      err = call() < 0 ? errno : 0;
      done = true;
    });
  }
  ~Caller() {
    fs.unstall();  // a test that failed must not hang
    thread.join();
  }
  void signal() { ::pthread_kill(thread.native_handle(), SIGUSR1); }
};

}  // namespace

TEST_CASE("64 stalled operations of every kind do not delay hits", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t slow = m.fs->add_dir(1, "slow");
  const uint64_t big = m.fs->add_file(1, "big", std::string(1 << 20, 'b'), false);
  m.fs->add_file(1, "hit", "hit", false);
  m.mount();
  REQUIRE(m.stat("slow").st_ino == slow);
  REQUIRE(m.stat("big").st_ino == big);
  m.fs->stall(FakeFilesystem::kLookup, slow);
  m.fs->stall(FakeFilesystem::kOpen, big);
  m.fs->stall(FakeFilesystem::kReaddir, slow);
  {
    std::vector<std::unique_ptr<Caller>> callers;
    for (int i = 0; i < 32; ++i) {
      callers.push_back(std::make_unique<Caller>(*m.fs, [&m, i] {
        struct stat s {};
        return ::stat(m.at("slow/x" + std::to_string(i)).c_str(), &s);
      }));
    }
    for (int i = 0; i < 32; ++i) {
      callers.push_back(std::make_unique<Caller>(*m.fs, [&m] { return m.open("big") ? 0 : -1; }));
    }
    CHECK(eventually([&] { return m.fs->held() == 64; }));
    for (int i = 0; i < 200; ++i) {
      struct stat s {};
      CHECK(::stat((m.at("new") + std::to_string(i)).c_str(), &s) == -1);
    }
    CHECK(m.slurp("hit") == "hit");
    CHECK(m.fs->held() == 64);
    m.fs->unstall();
    CHECK(eventually([&] { return m.session->waiting_requests() == 0; }));
  }
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}

TEST_CASE("a removal announced beside a stalled LOOKUP holds up no other LOOKUP", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t d = m.fs->add_dir(1, "d");
  m.fs->add_file(d, "gone", "x", false);
  m.mount();
  REQUIRE(m.stat("d/gone").st_ino != 0);
  m.fs->stall(FakeFilesystem::kLookup, d);
  auto look = [&m](const char* name) {
    return [&m, name] {
      struct stat s {};
      return ::stat(m.at(name).c_str(), &s);
    };
  };
  {
    Caller first(*m.fs, look("d/x"));
    REQUIRE(eventually([&] { return m.session->waiting_requests() == 1; }));
    m.fs->remove(d, "gone");
    m.notifier.inode_changed(1);  // sent after the name: the notifier has been there
    REQUIRE(eventually([&] { return !m.notifier.unsettled(1); }));
    Caller second(*m.fs, look("d/z"));
    CHECK(eventually([&] { return m.fs->held() == 2; }));
    m.fs->unstall();
  }
  CHECK(eventually([&] { return m.stat("d/gone").st_ino == 0; }));
}

TEST_CASE("a signal ends a stalled call with EINTR and leaves nothing behind", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", std::string(8192, 'a'), false);
  m.mount();
  REQUIRE(m.stat("f").st_ino != 0);
  UniqueFd fd = m.open("f", O_RDONLY | O_DIRECT);
  alignas(4096) static char page[4096];
  struct stat s {};
  std::function<long()> call;
  SECTION("read") {
    m.fs->stall(FakeFilesystem::kRead);
    call = [&] { return ::pread(fd.get(), page, sizeof page, 0); };
  }
  SECTION("open") {
    m.fs->stall(FakeFilesystem::kOpen);
    call = [&] { return ::open(m.at("f").c_str(), O_RDONLY); };
  }
  SECTION("lookup") {
    m.fs->stall(FakeFilesystem::kLookup);
    call = [&] { return ::stat(m.at("other").c_str(), &s); };
  }
  {
    Caller caller(*m.fs, call);
    REQUIRE(eventually([&] { return m.fs->held() == 1 && m.session->waiting_requests() == 1; }));
    CHECK(eventually([&] {
      caller.signal();
      return caller.done.load();
    }));
    CHECK(caller.err == EINTR);
  }
  CHECK(m.session->waiting_requests() == 0);
  m.fs->unstall();  // the late answer goes nowhere
  CHECK(m.slurp("f") == std::string(8192, 'a'));
  fd.reset();
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}

TEST_CASE("kill -INT ends a reader of a stalled file at once", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", std::string(8192, 'a'), false);
  m.mount();
  m.fs->stall(FakeFilesystem::kRead);
  const std::string path = m.at("f");
  const pid_t child = ::fork();
  if (child == 0) {
    char c;
    ::signal(SIGINT, SIG_DFL);  // the test framework's handler came with the fork
    const int fd = ::open(path.c_str(), O_RDONLY);
    ::_exit(::read(fd, &c, 1) == 1 ? 0 : 1);
  }
  REQUIRE(eventually([&] { return m.fs->held() == 1; }));
  ::kill(child, SIGINT);
  int status = 0;
  CHECK(eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
  CHECK(WIFSIGNALED(status));
  m.fs->unstall();
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}

TEST_CASE("the mount ends while requests wait: they fail, nothing hangs", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", std::string(8192, 'a'), false);
  m.mount();
  UniqueFd held = m.open("f");
  m.fs->stall(FakeFilesystem::kRead);
  m.fs->stall(FakeFilesystem::kLookup);
  {
    Caller reader(*m.fs, [&] {
      char c;
      return ::pread(held.get(), &c, 1, 0);
    });
    Caller looker(*m.fs, [&] {
      struct stat s {};
      return ::stat(m.at("x").c_str(), &s);
    });
    REQUIRE(eventually([&] { return m.session->waiting_requests() == 2; }));
    std::atomic<bool> ended_well{false};
    std::thread serving([&] { ended_well = m.session->run().ok(); });
    m.session->request_exit();
    serving.join();
    CHECK(ended_well);
    m.unmount();
    CHECK(eventually([&] { return reader.done && looker.done; }));
    CHECK(reader.err != 0);
    CHECK(looker.err != 0);
  }
  m.fs->unstall();  // core answers after the end: swallowed
  CHECK(m.stat("f").st_ino == 0);
  CHECK(m.fs->open_files == 0);
  struct stat a {
  }, b{};
  ::stat(m.mnt.c_str(), &a);
  ::stat(m.dir.path.c_str(), &b);
  CHECK(a.st_dev == b.st_dev);
}

TEST_CASE("the mount ends although the app blocks every signal in its threads", "[mount]") {
  SKIP_WITHOUT_FUSE();
  sigset_t all, was;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &was);
  MountFixture m;
  m.mount();
  CHECK(m.stat("").st_ino == 1);
  m.unmount();
  ::pthread_sigmask(SIG_SETMASK, &was, nullptr);
}

TEST_CASE("a mount taken off lazily with a reader waiting ends as well", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", std::string(8192, 'a'), false);
  m.mount();
  UniqueFd held = m.open("f");
  m.fs->stall(FakeFilesystem::kRead);
  Caller reader(*m.fs, [&] {
    char c;
    return ::pread(held.get(), &c, 1, 0);
  });
  REQUIRE(eventually([&] { return m.session->waiting_requests() == 1; }));
  CHECK(::system(("umount -l " + m.mnt).c_str()) == 0);
  m.unmount();
  CHECK(eventually([&] { return reader.done.load(); }));
  CHECK(reader.err != 0);
}

TEST_CASE("umount from outside ends run()", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.mount();
  std::atomic<bool> ended_well{false};
  std::thread serving([&] { ended_well = m.session->run().ok(); });
  CHECK(::system(("umount " + m.mnt).c_str()) == 0);
  serving.join();
  CHECK(ended_well);
  m.unmount();
  m.mount();  // and the mountpoint is fit for use again
  CHECK(m.stat("").st_ino == 1);
}
