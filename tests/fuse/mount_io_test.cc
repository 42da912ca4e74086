// Opens, versions and I/O modes through a real mount: the rules of "nodeid is not st_ino", tried on this
// kernel.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

constexpr auto kRead = FakeFilesystem::kRead;

std::string text(char c, size_t n = 20'000) { return std::string(n, c); }

struct Mapping {
  char* p;
  size_t n;
  Mapping(int fd, size_t size)
      : p(static_cast<char*>(::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0))), n(size) {}
  ~Mapping() {
    if (p != MAP_FAILED) ::munmap(p, n);
  }
  std::string str() const { return std::string(p, n); }
};

}  // namespace

TEST_CASE("a sealed file is read by the kernel alone", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", text('a'), true);
  m.mount();
  if (!m.passthrough()) {
    WARN("skipped: this kernel has no passthrough");
    return;
  }
  {
    UniqueFd a = m.open("f"), b = m.open("f");
    CHECK(m.read_fd(a.get()) == text('a'));
    CHECK(Mapping(b.get(), 20'000).str() == text('a'));
    CHECK(m.fs->backing_fds == 1);  // one id for both
  }
  CHECK(m.fs->count[kRead] == 0);
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
  CHECK(eventually([&] { return m.session->incarnations().stats().records == 0; }));
}

TEST_CASE("a replaced object: old handles and mappings keep their bytes, a new open gets the new ones",
          "[mount]") {
  SKIP_WITHOUT_FUSE();
  const bool sealed = GENERATE(true, false);
  const bool passthrough = GENERATE(true, false);
  INFO("sealed " << sealed << ", passthrough " << passthrough);
  MountFixture m;
  m.options.passthrough = passthrough;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), sealed);
  m.mount();
  UniqueFd old = m.open("f");
  Mapping map(old.get(), 20'000);
  CHECK(map.p[0] == 'a');  // the rest of the mapping is not touched yet
  m.fs->replace(f, text('b', 30'000), sealed);
  // The name is believed for a minute: the OPEN itself finds out, and the kernel walks again.
  UniqueFd fresh = m.open("f");
  REQUIRE(fresh);
  CHECK(m.read_fd(fresh.get()) == text('b', 30'000));
  CHECK(m.read_fd(old.get()) == text('a'));
  CHECK(map.str() == text('a'));
  struct stat so {
  }, sn{};
  ::fstat(old.get(), &so);
  ::fstat(fresh.get(), &sn);
  CHECK(so.st_ino == f);
  CHECK(sn.st_ino == f);
  CHECK(so.st_size == 20'000);
  CHECK(sn.st_size == 30'000);
  CHECK(m.stat("f").st_size == 30'000);
  // Once more, over handles of two versions.
  m.fs->replace(f, text('c', 100), sealed);
  CHECK(m.slurp("f") == text('c', 100));
  CHECK(m.read_fd(old.get()) == text('a'));
  CHECK(m.read_fd(fresh.get()) == text('b', 30'000));
}

TEST_CASE("pages of a closed file never show under a later version", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const bool told = GENERATE(true, false);
  const uint64_t f = m.fs->add_file(1, "f", text('a'), false);
  m.mount();
  CHECK(m.slurp("f") == text('a'));
  const int reads = m.fs->count[kRead];
  CHECK(m.slurp("f") == text('a'));
  CHECK(m.fs->count[kRead] == reads);  // KEEP_CACHE: served by the kernel
  if (!told) m.fs->set_listener(nullptr);
  for (char c : {'b', 'c', 'd'}) {
    m.fs->replace(f, text(c), false);
    CHECK(m.slurp("f") == text(c));
    CHECK(m.stat("f").st_ino == f);
  }
}

TEST_CASE("an open before the kernel has heard of the new size still reads all of it", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  constexpr uint64_t kFlood = 300'000;  // notifications queued before ours: a few hundred ms of work
  while (*m.fs->next_id() < kFlood) {
  }
  const uint64_t f = m.fs->add_file(1, "f", "short", false);
  m.mount();
  REQUIRE(m.stat("f").st_size == 5);  // believed for a minute
  for (uint64_t ino = 100; ino < kFlood; ++ino) m.notifier.inode_changed(ino);
  m.fs->replace(f, text('b'), false);
  CHECK(m.slurp("f") == text('b'));
}

TEST_CASE("sealed while a cached handle is open: new opens get passthrough beside it", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), false);
  m.mount();
  if (!m.passthrough()) return;
  UniqueFd cached = m.open("f");
  char c = 0;
  CHECK(::pread(cached.get(), &c, 1, 0) == 1);
  m.fs->seal(f);
  const int reads = m.fs->count[kRead];
  UniqueFd fast = m.open("f");
  REQUIRE(fast);
  CHECK(m.read_fd(fast.get()) == text('a'));
  CHECK(m.fs->backing_fds == 1);
  CHECK(m.fs->count[kRead] == reads);
  CHECK(m.read_fd(cached.get()) == text('a'));
  UniqueFd again = m.open("f");
  CHECK(m.fs->backing_fds == 1);
  // Evicted by unlink: whoever comes now joins the living backing file.
  m.fs->unseal(f);
  UniqueFd joined = m.open("f");
  REQUIRE(joined);
  CHECK(m.read_fd(joined.get()) == text('a'));
}

TEST_CASE("programs of all kinds get through the second walk", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t f = m.fs->add_file(1, "f", text('a', 4096), true);
  m.mount();
  UniqueFd old = m.open("f");
  const std::string through_fd = "/proc/self/fd/" + std::to_string(old.get());
  UniqueFd reopened(::open(through_fd.c_str(), O_RDONLY));
  CHECK(reopened);  // same version: joins
  char next = 'b';
  auto replace = [&] { m.fs->replace(f, text(next++, 4096), true); };
  SECTION("a shell") {
    replace();
    CHECK(::system(("test \"$(head -c 1 < " + m.at("f") + ")\" = b").c_str()) == 0);
  }
  SECTION("O_DIRECT") {
    replace();
    UniqueFd fd = m.open("f", O_RDONLY | O_DIRECT);
    REQUIRE(fd);
    alignas(4096) static char page[4096];
    CHECK(::read(fd.get(), page, sizeof page) == 4096);
    CHECK(page[0] == 'b');
  }
  SECTION("openat and mmap") {
    replace();
    UniqueFd dir(::open(m.mnt.c_str(), O_PATH));
    UniqueFd fd(::openat(dir.get(), "f", O_RDONLY));
    REQUIRE(fd);
    CHECK(Mapping(fd.get(), 4096).p[0] == 'b');
  }
  SECTION("/proc/self/fd has no name to walk again: ESTALE") {
    replace();
    CHECK(::open(through_fd.c_str(), O_RDONLY) == -1);
    CHECK(errno == ESTALE);
    CHECK(m.read_fd(old.get()) == text('a', 4096));
  }
}

TEST_CASE("O_DIRECT reads beside every other mode", "[mount]") {
  SKIP_WITHOUT_FUSE();
  const bool sealed = GENERATE(true, false);
  MountFixture m;
  m.fs->add_file(1, "f", text('a', 8192), sealed);
  m.mount();
  alignas(4096) static char page[4096];
  UniqueFd direct = m.open("f", O_RDONLY | O_DIRECT);
  UniqueFd plain = m.open("f");
  UniqueFd direct2 = m.open("f", O_RDONLY | O_DIRECT);
  REQUIRE((direct && plain && direct2));
  const int reads = m.fs->count[kRead];
  CHECK(::pread(direct.get(), page, 4096, 4096) == 4096);
  CHECK(page[0] == 'a');
  CHECK(::pread(direct2.get(), page, 4096, 0) == 4096);
  CHECK(m.fs->count[kRead] == reads + 2);  // direct_io: nothing is kept by the kernel
  CHECK(m.read_fd(plain.get()) == text('a', 8192));
  CHECK(Mapping(plain.get(), 8192).str() == text('a', 8192));
}

TEST_CASE("no backing file to be had: the daemon reads, for the next opens too", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->fail_backing(true);
  m.fs->add_file(1, "f", text('a'), true);
  m.mount();
  UniqueFd a = m.open("f"), b = m.open("f");
  REQUIRE((a && b));
  CHECK(m.read_fd(a.get()) == text('a'));
  CHECK(m.read_fd(b.get()) == text('a'));
  CHECK(m.fs->count[kRead] > 0);
  CHECK(m.session->incarnations().stats().aliases == 0);
}

TEST_CASE("2,000 sealed files open at once with 256 descriptors", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const int n = 2000;
  for (int i = 0; i < n; ++i) m.fs->add_file(1, "f" + std::to_string(i), text('a', 10), true);
  m.mount();
  if (!m.passthrough()) return;
  rlimit was{};
  ::getrlimit(RLIMIT_NOFILE, &was);
  int opened[2], done[2];
  REQUIRE(::pipe(opened) == 0);
  REQUIRE(::pipe(done) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit wide{4096, was.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &wide);
    int good = 0;
    char path[256], c;
    ::close(done[1]);
    ::read(done[0], &c, 1);  // until the parent has the narrow limit
    for (int i = 0; i < n; ++i) {
      ::snprintf(path, sizeof path, "%s/f%d", m.mnt.c_str(), i);
      const int fd = ::open(path, O_RDONLY);
      good += fd >= 0 && ::read(fd, &c, 1) == 1 && c == 'a';
    }
    ssize_t ignored = ::write(opened[1], &good, sizeof good);
    ignored = ::read(done[0], &c, 1);
    ::_exit(ignored == 0 ? 0 : 1);
  }
  const rlimit narrow{256, was.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &narrow);
  int good = 0;
  REQUIRE(::write(done[1], "x", 1) == 1);
  CHECK(::read(opened[0], &good, sizeof good) == sizeof good);
  CHECK(good == n);
  CHECK(m.session->incarnations().stats().open_handles == static_cast<size_t>(n));
  CHECK(m.fs->count[kRead] == 0);
  ::close(done[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::setrlimit(RLIMIT_NOFILE, &was);
  for (int fd : {opened[0], opened[1], done[0]}) ::close(fd);
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
  CHECK(m.session->incarnations().stats().records == 0);
}

TEST_CASE("many threads open files that are sealed and replaced under them", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  std::vector<uint64_t> files;
  for (int i = 0; i < 4; ++i)
    files.push_back(m.fs->add_file(1, "f" + std::to_string(i), text('a', 8192), i % 2 == 0));
  m.mount();
  std::atomic<bool> stop{false};
  std::atomic<int> mixed{0}, failed{0}, good{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 4; ++t) {
    readers.emplace_back([&, t] {
      for (int i = t; !stop; ++i) {
        UniqueFd fd = m.open("f" + std::to_string(i % 4));
        if (!fd) {
          // Two changes within one open: the second walk met ESTALE too.
          if (errno != ESTALE) ++failed;
          continue;
        }
        const std::string s = m.read_fd(fd.get());
        if (s.size() != 8192 || s.find_first_not_of(s[0]) != std::string::npos) ++mixed;
        ++good;
      }
    });
  }
  for (int round = 0; round < 100; ++round) {
    const uint64_t f = files[round % 4];
    m.fs->replace(f, text(static_cast<char>('a' + round % 26), 8192), round % 3 == 0);
    const int before = good;
    eventually([&] { return good > before + 4; });
    if (round % 3 == 1) m.fs->seal(f);
  }
  stop = true;
  for (auto& t : readers) t.join();
  CHECK(mixed == 0);
  CHECK(failed == 0);
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}
