// flock(2) and fcntl(2) locks of processes through a real mount, over nodeids.
#include <sys/file.h>

#include <cerrno>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

struct flock range(short type, off_t start = 0, off_t length = 0) {
  struct flock f {};
  f.l_type = type;
  f.l_whence = SEEK_SET;
  f.l_start = start;
  f.l_len = length;
  return f;
}

// Runs python with `script`; argv[1] is the file. Its exit code is its answer.
int python(const std::string& script, const std::string& file) {
  return exit_code(in_child([&] {
    ::execlp("python3", "python3", "-c", script.c_str(), file.c_str(), nullptr);
    return 127;
  }));
}

const std::string kTryExclusive = R"(
import fcntl, sys
f = open(sys.argv[1], 'r+b')
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
except BlockingIOError:
    sys.exit(1)
)";
const std::string kTryFlock = R"(
import fcntl, sys
f = open(sys.argv[1], 'rb')
try:
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(1)
)";

}  // namespace

TEST_CASE("locks hold between processes whose handles have different nodeids", "[lock]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "f", "0123456789", true);
  m.mount();
  UniqueFd reader = m.open("f");  // passthrough; a writer gets another nodeid
  REQUIRE(reader);
  SECTION("fcntl") {
    struct flock f = range(F_RDLCK, 5, 10);
    REQUIRE(::fcntl(reader.get(), F_SETLK, &f) == 0);
    CHECK(python(kTryExclusive, m.at("f")) == 1);
    f = range(F_UNLCK, 5, 10);
    REQUIRE(::fcntl(reader.get(), F_SETLK, &f) == 0);
    CHECK(python(kTryExclusive, m.at("f")) == 0);
  }
  SECTION("fcntl, let go by the close of a read-only descriptor, which sends no FLUSH") {
    struct flock f = range(F_RDLCK);
    REQUIRE(::fcntl(reader.get(), F_SETLK, &f) == 0);
    CHECK(python(kTryExclusive, m.at("f")) == 1);
    reader.reset();
    CHECK(eventually([&] { return python(kTryExclusive, m.at("f")) == 0; }));
  }
  SECTION("fcntl, let go by the close of a writable dup") {
    UniqueFd writer = m.open("f", O_RDWR);
    struct flock f = range(F_WRLCK);
    REQUIRE(::fcntl(writer.get(), F_SETLK, &f) == 0);
    CHECK(python(kTryExclusive, m.at("f")) == 1);
    ::close(::dup(writer.get()));
    CHECK(python(kTryExclusive, m.at("f")) == 0);
  }
  SECTION("of an open file description") {
    UniqueFd a = m.open("f", O_RDWR), b = m.open("f", O_RDWR);
    struct flock f = range(F_WRLCK);
    REQUIRE(::fcntl(a.get(), F_OFD_SETLK, &f) == 0);
    f = range(F_WRLCK);
    CHECK(::fcntl(b.get(), F_OFD_SETLK, &f) == -1);
    CHECK(errno == EAGAIN);
    a.reset();
    CHECK(eventually([&] {
      f = range(F_WRLCK);
      return ::fcntl(b.get(), F_OFD_SETLK, &f) == 0;
    }));
  }
  SECTION("flock") {
    UniqueFd writer = m.open("f", O_RDWR);
    REQUIRE(::flock(writer.get(), LOCK_SH) == 0);
    CHECK(::flock(reader.get(), LOCK_SH | LOCK_NB) == 0);
    CHECK(python(kTryFlock, m.at("f")) == 1);
    REQUIRE(::flock(writer.get(), LOCK_UN) == 0);
    CHECK(python(kTryFlock, m.at("f")) == 1);
    reader.reset();
    CHECK(eventually([&] { return python(kTryFlock, m.at("f")) == 0; }));
  }
  reader.reset();
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}

TEST_CASE("GETLK names the holder, and a killed one holds nothing", "[lock]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "f", "0123456789", true);
  m.mount();
  UniqueFd reader = m.open("f");
  const pid_t child = in_child([&] {
    const int fd = ::open(m.at("f").c_str(), O_RDWR);
    struct flock f = range(F_WRLCK, 3, 4);
    if (::fcntl(fd, F_SETLK, &f) != 0) return 1;
    return ::kill(::getpid(), SIGSTOP);
  });
  int status = 0;
  ::waitpid(child, &status, WUNTRACED);
  REQUIRE(WIFSTOPPED(status));
  struct flock f = range(F_RDLCK);
  REQUIRE(::fcntl(reader.get(), F_GETLK, &f) == 0);
  CHECK(f.l_type == F_WRLCK);
  CHECK(f.l_start == 3);
  CHECK(f.l_len == 4);
  CHECK(f.l_pid == child);
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  f = range(F_RDLCK);
  CHECK(eventually([&] { return ::fcntl(reader.get(), F_GETLK, &f) == 0 && f.l_type == F_UNLCK; }));
}

TEST_CASE("who waits for a lock gets it, or the signal, or dies", "[lock]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "f", "x", true);
  m.mount();
  UniqueFd holder = m.open("f", O_RDWR);
  REQUIRE(::flock(holder.get(), LOCK_EX) == 0);
  const bool by_flock = GENERATE(true, false);
  struct flock all = range(F_WRLCK);
  REQUIRE(::fcntl(holder.get(), F_SETLK, &all) == 0);
  const pid_t child = in_child([&] {
    const int fd = ::open(m.at("f").c_str(), O_RDWR);
    struct flock f = range(F_WRLCK);
    const int rc = by_flock ? ::flock(fd, LOCK_EX) : ::fcntl(fd, F_SETLKW, &f);
    return rc == 0 ? 0 : errno;
  });
  REQUIRE(eventually([&] { return m.session->waiting_requests() == 1; }));
  SECTION("gets it") {
    ::flock(holder.get(), LOCK_UN);
    all.l_type = F_UNLCK;
    ::fcntl(holder.get(), F_SETLK, &all);
    CHECK(exit_code(child) == 0);
  }
  SECTION("interrupted") {
    ::kill(child, SIGUSR1);
    CHECK(exit_code(child) == EINTR);
  }
  SECTION("killed") {
    ::kill(child, SIGKILL);
    CHECK(exit_code(child) == -1);
  }
  CHECK(m.session->waiting_requests() == 0);
  // Nothing was given to who had gone: the lock is free once the holder lets go.
  holder.reset();
  CHECK(eventually([&] { return python(kTryFlock, m.at("f")) == 0; }));
  CHECK(eventually([&] { return python(kTryExclusive, m.at("f")) == 0; }));
}

TEST_CASE("the mount ends with a lock waited for", "[lock]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "f", "x", true);
  m.mount();
  UniqueFd a = m.open("f"), b = m.open("f");
  REQUIRE(::flock(a.get(), LOCK_EX) == 0);
  std::atomic<int> got{-1};
  std::thread waiter([&] { got = ::flock(b.get(), LOCK_EX) == 0 ? 0 : errno; });
  REQUIRE(eventually([&] { return m.session->waiting_requests() == 1; }));
  m.unmount();
  waiter.join();
  CHECK(got != 0);
}
