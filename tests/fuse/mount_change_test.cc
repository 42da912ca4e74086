// Changes of names through a real mount: what the kernel learns from the answers, and signals meanwhile.
#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cerrno>
#include <set>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

constexpr auto kNames = FakeFilesystem::kNames;
constexpr auto kLookup = FakeFilesystem::kLookup;
constexpr auto kGetattr = FakeFilesystem::kGetattr;

bool fails(long rc, int err) { return rc == -1 && errno == err; }

std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> out;
  DIR* d = ::opendir(path.c_str());
  while (dirent* e = d ? ::readdir(d) : nullptr) out.insert(e->d_name);
  if (d) ::closedir(d);
  return out;
}

}  // namespace

TEST_CASE("new nodes come with their attributes, and names go and move at once", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.mount();
  ::umask(022);
  REQUIRE(::mkdir(m.at("d").c_str(), 0777) == 0);
  REQUIRE(::mknod(m.at("d/fifo").c_str(), S_IFIFO | 0600, 0) == 0);
  REQUIRE(::mknod(m.at("d/dev").c_str(), S_IFCHR | 0600, makedev(5, 6)) == 0);
  REQUIRE(::mknod(m.at("d/reg").c_str(), S_IFREG | 0666, 0) == 0);
  REQUIRE(::symlink("reg", m.at("d/link").c_str()) == 0);
  const int lookups = m.fs->count[kLookup], getattrs = m.fs->count[kGetattr];
  CHECK(m.stat("d").st_mode == (S_IFDIR | 0755));
  CHECK(m.stat("d/fifo").st_mode == (S_IFIFO | 0600));
  CHECK(m.stat("d/dev").st_rdev == makedev(5, 6));
  CHECK(m.stat("d/reg").st_mode == (S_IFREG | 0644));
  CHECK(m.stat("d/link").st_ino == m.stat("d/reg").st_ino);
  CHECK(m.fs->count[kLookup] == lookups);
  CHECK(m.fs->count[kGetattr] <= getattrs + 1);  // the directory's own: its times have changed
  CHECK(names_in(m.at("d")) == std::set<std::string>{".", "..", "fifo", "dev", "reg", "link"});

  CHECK(fails(::mkdir(m.at("d").c_str(), 0777), EEXIST));
  CHECK(fails(::rmdir(m.at("d").c_str()), ENOTEMPTY));
  CHECK(fails(::unlink(m.at("d/none").c_str()), ENOENT));
  CHECK(fails(::rename(m.at("d/none").c_str(), m.at("x").c_str()), ENOENT));
  CHECK(fails(::link(m.at("d/reg").c_str(), m.at("hard").c_str()), EOPNOTSUPP));

  CHECK(m.stat("moved").st_ino == 0);  // believed for a minute
  const ino_t ino = m.stat("d/reg").st_ino;
  REQUIRE(::rename(m.at("d/reg").c_str(), m.at("moved").c_str()) == 0);
  CHECK(m.stat("moved").st_ino == ino);
  CHECK(m.stat("d/reg").st_ino == 0);
  for (const char* n : {"d/fifo", "d/dev", "d/link"}) CHECK(::unlink(m.at(n).c_str()) == 0);
  CHECK(m.stat("d/fifo").st_ino == 0);
  CHECK(names_in(m.at("d")) == std::set<std::string>{".", ".."});
  CHECK(::rmdir(m.at("d").c_str()) == 0);
  CHECK(names_in(m.mnt) == std::set<std::string>{".", "..", "moved"});
}

TEST_CASE("rename's flags", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "a", "aa", true);
  m.fs->add_file(1, "b", "bbb", true);
  m.mount();
  const std::string a = m.at("a"), b = m.at("b");
  CHECK(m.slurp("b") == "bbb");
  CHECK(fails(::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_NOREPLACE), EEXIST));
  CHECK(::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0);
  CHECK(m.slurp("a") == "bbb");
  CHECK(m.slurp("b") == "aa");
  CHECK(fails(::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_WHITEOUT), EINVAL));
  UniqueFd open_target = m.open("b");
  CHECK(::rename(a.c_str(), b.c_str()) == 0);
  CHECK(m.slurp("b") == "bbb");
  CHECK(m.read_fd(open_target.get()) == "aa");
}

TEST_CASE("a file without a name goes on until its last close", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.mount();
  UniqueFd fd(::open(m.at("tmp").c_str(), O_RDWR | O_CREAT, 0600));
  REQUIRE(::pwrite(fd.get(), "abc", 3, 0) == 3);
  REQUIRE(::unlink(m.at("tmp").c_str()) == 0);
  REQUIRE(::pwrite(fd.get(), "def", 3, 3) == 3);
  CHECK(m.read_fd(fd.get()) == "abcdef");
  REQUIRE(::ftruncate(fd.get(), 4) == 0);
  struct stat s {};
  REQUIRE(::fstat(fd.get(), &s) == 0);
  CHECK(s.st_size == 4);
  CHECK(s.st_nlink == 0);
  // Its name is free for another.
  UniqueFd other(::open(m.at("tmp").c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  REQUIRE(other);
  CHECK(size_t{} == m.read_fd(other.get()).size());
  CHECK(m.read_fd(fd.get()) == "abcd");
  fd.reset();
  other.reset();
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}

TEST_CASE("xattrs are set, replaced and removed, with xattr's own errors", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.options.use_xattr = true;
  m.fs->add_file(1, "f", "x", true);
  m.mount();
  const std::string f = m.at("f");
  char buf[100];
  CHECK(::setxattr(f.c_str(), "user.a", "12345", 5, 0) == 0);
  CHECK(::getxattr(f.c_str(), "user.a", buf, sizeof buf) == 5);
  CHECK(fails(::setxattr(f.c_str(), "user.a", "1", 1, XATTR_CREATE), EEXIST));
  CHECK(fails(::setxattr(f.c_str(), "user.b", "1", 1, XATTR_REPLACE), ENODATA));
  CHECK(::setxattr(f.c_str(), "user.a", "", 0, XATTR_REPLACE) == 0);
  CHECK(::getxattr(f.c_str(), "user.a", buf, sizeof buf) == 0);
  CHECK(fails(::setxattr(f.c_str(), "user.a", std::string(3000, 'x').c_str(), 3000, 0), ENOSPC));
  CHECK(::removexattr(f.c_str(), "user.a") == 0);
  CHECK(fails(::removexattr(f.c_str(), "user.a"), ENODATA));
}

TEST_CASE("a create that finds what others put there meanwhile", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", "there", true);
  m.mount();
  REQUIRE(m.stat("x").st_ino == 0);  // absent, and believed so
  SECTION("a file with passthrough readers: opened under a nodeid of its own") {
    UniqueFd reader = m.open("f");
    REQUIRE(m.fs->move_behind(1, "f", "x"));
    UniqueFd fd(::open(m.at("x").c_str(), O_RDWR | O_CREAT, 0600));
    REQUIRE(fd);
    struct stat s {};
    ::fstat(fd.get(), &s);
    CHECK(s.st_ino == f);
    CHECK(m.read_fd(fd.get()) == "there");
    REQUIRE(::pwrite(fd.get(), "T", 1, 0) == 1);
    CHECK(m.read_fd(reader.get()) == "There");
    CHECK(m.fs->ino_of(1, "x") == f);
  }
  SECTION("a file, but the name must be new") {
    REQUIRE(m.fs->move_behind(1, "f", "x"));
    CHECK(fails(::open(m.at("x").c_str(), O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST));
  }
  SECTION("a file to be emptied") {
    REQUIRE(m.fs->move_behind(1, "f", "x"));
    UniqueFd fd(::open(m.at("x").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    REQUIRE(fd);
    CHECK(m.fs->content(f).empty());
    CHECK(m.stat("x").st_size == 0);
  }
  SECTION("a directory") {
    m.fs->add_dir(1, "x");
    CHECK(fails(::open(m.at("x").c_str(), O_RDWR | O_CREAT, 0600), EISDIR));
  }
}

TEST_CASE("a signal does not turn a change into EINTR", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", "", true);
  m.mount();
  pid_t child = 0;
  SECTION("mkdir") {
    m.fs->stall(kNames);
    child = in_child([&] { return ::mkdir(m.at("d").c_str(), 0755) == 0 ? 0 : errno; });
  }
  SECTION("create") {
    m.fs->stall(kNames);
    child =
        in_child([&] { return ::open(m.at("d").c_str(), O_CREAT | O_EXCL | O_RDWR, 0600) >= 0 ? 0 : errno; });
  }
  SECTION("append") {
    m.fs->stall(FakeFilesystem::kWrite);
    child = in_child([&] {
      const int fd = ::open(m.at("f").c_str(), O_WRONLY | O_APPEND);
      for (;;) {
        const ssize_t n = ::write(fd, "line\n", 5);
        if (n >= 0 || errno != EINTR) return n == 5 ? 0 : errno;
      }
    });
  }
  REQUIRE(eventually([&] { return m.fs->held() == 1; }));
  ::kill(child, SIGUSR1);
  // Seen and not obeyed.
  CHECK(eventually([&] { return m.session->watched_requests() == 1; }));
  CHECK(m.session->waiting_requests() == 1);
  m.fs->unstall();
  CHECK(exit_code(child) == 0);
  if (m.fs->appends > 0) CHECK(m.fs->content(f) == "line\n");
  CHECK(eventually([&] { return m.session->watched_requests() == 0; }));
}

TEST_CASE("a killed caller is let go, after other signals too, and its change still happens", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const bool signal_before = GENERATE(false, true);
  const int what = GENERATE(0, 1, 2, 3);
  m.fs->add_file(1, "old", "old", true);
  m.mount();
  REQUIRE(m.stat("old").st_ino != 0);  // believed for a minute, as is the absence of "new"
  REQUIRE(m.stat("new").st_ino == 0);
  m.fs->stall(kNames);
  const std::string from = m.at("old"), to = m.at("new");
  const pid_t child = in_child([&] {
    switch (what) {
      case 0:
        return ::open(to.c_str(), O_CREAT | O_RDWR, 0600);
      case 1:
        return ::mkdir(to.c_str(), 0700);
      case 2:
        return ::rename(from.c_str(), to.c_str());
      default:
        return ::unlink(from.c_str());
    }
  });
  REQUIRE(eventually([&] { return m.fs->held() == 1; }));
  if (signal_before) {
    ::kill(child, SIGUSR1);
    REQUIRE(eventually([&] { return m.session->watched_requests() == 1; }));
  }
  ::kill(child, SIGKILL);
  CHECK(exit_code(child) == -1);  // died, though the server is silent
  CHECK(m.session->waiting_requests() == 0);
  m.fs->unstall();
  CHECK((m.fs->ino_of(1, "new") != 0) == (what < 3));
  CHECK((m.fs->ino_of(1, "old") != 0) == (what < 2));
  CHECK(m.fs->open_files == 0);
  CHECK(m.session->incarnations().stats().open_handles == 0);
  // The kernel saw an error, and learns better.
  CHECK(eventually([&] { return (m.stat("new").st_ino != 0) == (what < 3); }));
  CHECK(eventually([&] { return (m.stat("old").st_ino != 0) == (what < 2); }));
}

TEST_CASE("a killed writer's bytes and length are seen", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", "0123", false);
  m.mount();
  UniqueFd reader = m.open("f");
  CHECK(m.read_fd(reader.get()) == "0123");
  m.fs->stall(FakeFilesystem::kWrite);
  const pid_t child = in_child([&] {
    const int fd = ::open(m.at("f").c_str(), O_WRONLY | O_APPEND);
    return ::write(fd, "4567", 4) == 4 ? 0 : 1;
  });
  REQUIRE(eventually([&] { return m.fs->held() == 1; }));
  ::kill(child, SIGKILL);
  CHECK(exit_code(child) == -1);
  m.fs->unstall();
  CHECK(m.fs->content(f) == "01234567");
  CHECK(eventually([&] { return m.read_fd(reader.get()) == "01234567"; }));
}

TEST_CASE("the mount ends with changes under way", "[change]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.mount();
  m.fs->stall(kNames);
  const pid_t child = in_child([&] { return ::mkdir(m.at("d").c_str(), 0755) == 0 ? 0 : 1; });
  REQUIRE(eventually([&] { return m.fs->held() == 1; }));
  ::kill(child, SIGUSR1);
  REQUIRE(eventually([&] { return m.session->watched_requests() == 1; }));
  m.unmount();
  CHECK(exit_code(child) == 1);
  m.fs->unstall();  // a late answer goes nowhere
}
