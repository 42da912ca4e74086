// Changes of contents through a real mount: what writers and readers of one file see of each other, whichever
// nodeid each of them has.
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

constexpr auto kRead = FakeFilesystem::kRead;
constexpr auto kFlush = FakeFilesystem::kFlush;
constexpr size_t kSize = 20'000;

std::string text(char c, size_t n = kSize) { return std::string(n, c); }

bool put(int fd, const std::string& s, off_t offset) {
  return ::pwrite(fd, s.data(), s.size(), offset) == static_cast<ssize_t>(s.size());
}

off_t size_of(int fd) {
  struct stat s {};
  return ::fstat(fd, &s) == 0 ? s.st_size : -1;
}

struct Mapping {
  char* p;
  size_t n;
  Mapping(int fd, size_t size, int prot = PROT_READ)
      : p(static_cast<char*>(::mmap(nullptr, size, prot, MAP_SHARED, fd, 0))), n(size) {}
  ~Mapping() {
    if (p != MAP_FAILED) ::munmap(p, n);
  }
};

}  // namespace

TEST_CASE("a new file is written, read back and known without being asked for", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.mount();
  UniqueFd fd(::open(m.at("new").c_str(), O_RDWR | O_CREAT | O_EXCL, 0640));
  REQUIRE(fd);
  REQUIRE(put(fd.get(), text('a', 3'000'000), 0));
  CHECK(m.fs->count[FakeFilesystem::kWrite] <= 4);  // a MiB each
  REQUIRE(put(fd.get(), "xyz", 5'000'000));
  std::string want = text('a', 3'000'000) + text('\0', 2'000'000) + "xyz";
  CHECK(m.read_fd(fd.get()) == want);
  CHECK(size_of(fd.get()) == 5'000'003);
  CHECK(m.fs->count[FakeFilesystem::kOpen] == 0);
  CHECK((m.stat("new").st_mode & 07777) == 0640);
  CHECK(::open(m.at("new").c_str(), O_RDWR | O_CREAT | O_EXCL, 0640) == -1);
  CHECK(errno == EEXIST);
  fd.reset();
  CHECK(m.fs->content(m.fs->ino_of(1, "new")) == want);
  CHECK(m.slurp("new") == want);
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}

TEST_CASE("a writer beside passthrough readers: both go on, and see each other", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const int how = GENERATE(O_WRONLY, O_RDWR, O_WRONLY | O_APPEND);
  const uint64_t f = m.fs->add_file(1, "f", text('a'), true);
  m.mount();
  if (!m.passthrough()) return;
  UniqueFd reader = m.open("f");
  Mapping map(reader.get(), kSize);
  CHECK(map.p[0] == 'a');
  CHECK(size_of(reader.get()) == kSize);  // kept by the kernel for a minute
  UniqueFd writer = m.open("f", how);
  REQUIRE(writer);
  REQUIRE(put(writer.get(), text('b', 5000), how & O_APPEND ? kSize : kSize - 2500));
  const std::string want =
      how & O_APPEND ? text('a') + text('b', 5000) : text('a', kSize - 2500) + text('b', 5000);
  CHECK(m.fs->content(f) == want);
  CHECK(m.read_fd(reader.get()) == want);
  if ((how & O_APPEND) == 0) CHECK(map.p[kSize - 1] == 'b');
  CHECK(eventually([&] { return size_of(reader.get()) == static_cast<off_t>(want.size()); }));
  // From then on at once.
  REQUIRE(put(writer.get(), "!", static_cast<off_t>(want.size())));
  CHECK(size_of(reader.get()) == static_cast<off_t>(want.size()) + 1);
  CHECK(m.fs->count[kRead] == 0);
  // Who comes while it is being written shares the writer's nodeid.
  UniqueFd second = m.open("f");
  REQUIRE(second);
  CHECK(m.read_fd(second.get()) == want + "!");
  CHECK(m.fs->count[kRead] > 0);
  REQUIRE(put(writer.get(), "?", static_cast<off_t>(want.size()) + 1));
  CHECK(m.read_fd(second.get()) == want + "!?");
  CHECK(m.read_fd(reader.get()) == want + "!?");
  // Saved and let go: passthrough again, a second after.
  writer.reset();
  second.reset();
  CHECK(eventually([&] { return m.fs->open_files == 1; }));
  CHECK(eventually([&] {
    const int backing_fds = m.fs->backing_fds;
    CHECK(m.slurp("f") == want + "!?");
    return m.fs->backing_fds == backing_fds + 1;
  }));
  CHECK(m.stat("f").st_ino == f);
}

TEST_CASE("a handle of before the writer, in cached mode under another nodeid, loses its old pages",
          "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), false);
  m.mount();
  if (!m.passthrough()) return;
  UniqueFd cached = m.open("f");
  Mapping map(cached.get(), kSize);
  CHECK(m.read_fd(cached.get()) == text('a'));
  CHECK(map.p[9000] == 'a');
  m.fs->seal(f);
  UniqueFd fast = m.open("f");  // passthrough, a second nodeid
  REQUIRE(fast);
  UniqueFd writer = m.open("f", O_RDWR);  // and a third
  REQUIRE(writer);
  for (char c : {'b', 'c', 'd'}) {
    REQUIRE(put(writer.get(), text(c, 25'000), 0));
    CHECK(m.read_fd(fast.get()) == text(c, 25'000));
    CHECK(eventually([&] { return m.read_fd(cached.get()) == text(c, 25'000); }));
    CHECK(eventually([&] { return map.p[9000] == c; }));
    CHECK(m.read_fd(writer.get()) == text(c, 25'000));
  }
  CHECK(eventually([&] { return size_of(cached.get()) == 25'000; }));
}

TEST_CASE("readers and writers that share a nodeid see each write at once", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const bool sealed = GENERATE(true, false);
  const uint64_t f = m.fs->add_file(1, "f", text('a'), sealed);
  m.mount();
  UniqueFd a = m.open("f", O_RDWR), b = m.open("f", O_WRONLY), r = m.open("f");
  REQUIRE((a && b && r));
  Mapping map(r.get(), kSize);
  CHECK(map.p[10] == 'a');
  REQUIRE(put(a.get(), "bb", 10));
  REQUIRE(put(b.get(), "cc", 12));
  CHECK(m.read_fd(r.get()).substr(9, 6) == "abbcca");
  CHECK(std::string(map.p + 9, 6) == "abbcca");
  CHECK(m.fs->content(f).substr(9, 6) == "abbcca");
  CHECK(m.session->incarnations().stats().aliases == 0);
}

TEST_CASE("O_DIRECT writers beside cached readers and mappings", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const bool sealed = GENERATE(true, false);
  m.fs->add_file(1, "f", text('a', 8192), sealed);
  m.mount();
  UniqueFd writer = m.open("f", O_RDWR | O_DIRECT);
  UniqueFd made(::open(m.at("new").c_str(), O_RDWR | O_CREAT | O_DIRECT, 0600));
  UniqueFd reader = m.open("f");
  REQUIRE((writer && made && reader));
  Mapping map(reader.get(), 8192);
  CHECK(m.read_fd(reader.get()) == text('a', 8192));
  CHECK(map.p[0] == 'a');
  alignas(4096) static char page[4096];
  for (char c : {'b', 'c'}) {
    std::memset(page, c, sizeof page);
    REQUIRE(::pwrite(writer.get(), page, sizeof page, 0) == sizeof page);
    CHECK(m.read_fd(reader.get()) == text(c, 4096) + text('a', 4096));
    CHECK(map.p[0] == c);
    REQUIRE(::pwrite(made.get(), page, sizeof page, 4096) == sizeof page);
    CHECK(::pread(made.get(), page, sizeof page, 4096) == sizeof page);
    CHECK(page[7] == c);
  }
  CHECK(m.stat("new").st_size == 8192);
  CHECK(Mapping(writer.get(), 8192).p[1] == 'c');
}

TEST_CASE("stores of a shared mapping reach the file at msync, and passthrough readers with it", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), true);
  m.mount();
  UniqueFd reader = m.open("f");
  UniqueFd writer = m.open("f", O_RDWR);
  REQUIRE((reader && writer));
  {
    Mapping map(writer.get(), kSize, PROT_READ | PROT_WRITE);
    map.p[7] = 'b';
    map.p[kSize - 1] = 'c';
    REQUIRE(::msync(map.p, map.n, MS_SYNC) == 0);
    CHECK(m.fs->content(f)[7] == 'b');
    CHECK(m.fs->content(f).size() == kSize);
    CHECK(eventually([&] { return m.read_fd(reader.get())[kSize - 1] == 'c'; }));
    writer.reset();
    map.p[8] = 'd';  // the descriptor is closed, the mapping is not
  }
  CHECK(eventually([&] { return m.fs->content(f)[8] == 'd'; }));
}

TEST_CASE("an O_APPEND handle's mapped pages are written where they belong", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), false);
  m.mount();
  UniqueFd fd = m.open("f", O_RDWR | O_APPEND);
  Mapping map(fd.get(), kSize, PROT_READ | PROT_WRITE);
  map.p[7] = 'b';
  REQUIRE(::msync(map.p, map.n, MS_SYNC) == 0);
  CHECK(m.fs->appends == 0);
  REQUIRE(::write(fd.get(), "z", 1) == 1);
  CHECK(m.fs->appends == 1);
  CHECK(m.fs->content(f) == text('a', 7) + "b" + text('a', kSize - 8) + "z");
}

TEST_CASE("four processes append lines, none is lost or torn", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "log", "", true);
  m.mount();
  UniqueFd follower = m.open("log");  // tail -f, passthrough
  constexpr int kLines = 300;
  std::vector<pid_t> children;
  for (int p = 0; p < 4; ++p) {
    const pid_t child = ::fork();
    if (child == 0) {
      int bad = 0;
      for (int i = 0; i < kLines; ++i) {
        const int fd = ::open(m.at("log").c_str(), O_WRONLY | O_APPEND);
        char line[64];
        const int n = ::snprintf(line, sizeof line, "%d %04d ..............................\n", p, i);
        bad += ::write(fd, line, static_cast<size_t>(n)) != n;
        ::close(fd);
      }
      ::_exit(bad != 0);
    }
    children.push_back(child);
  }
  for (pid_t c : children) {
    int status = -1;
    ::waitpid(c, &status, 0);
    CHECK(status == 0);
  }
  const std::string all = m.fs->content(f);
  CHECK(all.size() == 4 * kLines * 38);
  std::map<int, int> next;
  for (size_t at = 0; at + 38 <= all.size(); at += 38) {
    int p = -1, i = -1;
    ::sscanf(all.c_str() + at, "%d %d", &p, &i);
    CHECK(i == next[p]++);
  }
  CHECK(m.read_fd(follower.get()) == all);
  CHECK(m.slurp("log") == all);
}

TEST_CASE("each close of a writable descriptor flushes, of a read-only one never", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "f", "x", false);
  m.mount();
  UniqueFd writer = m.open("f", O_WRONLY);
  UniqueFd reader = m.open("f");
  CHECK(m.fs->count[kFlush] == 0);
  const int copy = ::dup(writer.get());
  ::close(copy);
  CHECK(m.fs->count[kFlush] == 1);
  ::close(::dup(reader.get()));
  reader.reset();
  CHECK(m.fs->count[kFlush] == 1);
  CHECK(::fsync(writer.get()) == 0);
  CHECK(m.fs->count[kFlush] == 2);
  writer.reset();
  CHECK(m.fs->count[kFlush] == 3);
  UniqueFd again = m.open("f");
  CHECK(::fsync(again.get()) == 0);
  CHECK(m.fs->count[kFlush] == 4);
}

TEST_CASE("fallocate: what core does and what it does not", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), false);
  m.mount();
  UniqueFd fd = m.open("f", O_RDWR);
  Mapping map(fd.get(), kSize);
  CHECK(map.p[5000] == 'a');
  CHECK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096) == 0);
  CHECK(map.p[5000] == 0);
  CHECK(m.read_fd(fd.get()) == text('a', 4096) + text('\0', 4096) + text('a', kSize - 8192));
  CHECK(::fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 0, 10) == 0);
  CHECK(map.p[9] == 0);
  CHECK(::fallocate(fd.get(), 0, 0, 30'000) == 0);
  CHECK(size_of(fd.get()) == 30'000);
  CHECK(::fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, 0, 40'000) == 0);
  CHECK(size_of(fd.get()) == 30'000);
  CHECK(m.fs->content(f).size() == 30'000);
  CHECK(::fallocate(fd.get(), FALLOC_FL_COLLAPSE_RANGE, 0, 4096) == -1);
  CHECK(errno == EOPNOTSUPP);
}

TEST_CASE("copy_file_range inside the mount is core's, and readers of the target see it", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "from", text('a') + text('b'), true);
  const uint64_t to = m.fs->add_file(1, "to", text('c'), false);
  m.mount();
  UniqueFd from = m.open("from"), target = m.open("to", O_RDWR), reader = m.open("to");
  CHECK(m.read_fd(reader.get()) == text('c'));
  const int reads = m.fs->count[kRead];
  off_t in = kSize - 5, out = 10;
  CHECK(::copy_file_range(from.get(), &in, target.get(), &out, 10, 0) == 10);
  CHECK(m.fs->count[kRead] == reads);
  CHECK(m.read_fd(reader.get()) == text('c', 10) + "aaaaabbbbb" + text('c', kSize - 20));
  CHECK(m.fs->content(to).substr(8, 14) == "ccaaaaabbbbbcc");
}

TEST_CASE("a write by somebody else than root takes set-user-id off", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.options.allow_other = true;
  const uint64_t f = m.fs->add_file(1, "f", "x", false);
  m.mount();
  REQUIRE(::chmod(m.dir.path.c_str(), 0755) == 0);
  REQUIRE(::chmod(m.at("f").c_str(), 06777) == 0);
  UniqueFd root = m.open("f", O_WRONLY);
  REQUIRE(put(root.get(), "y", 0));
  CHECK((m.stat("f").st_mode & 07777) == 06777);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(12345) != 0 || ::setuid(12345) != 0) ::_exit(2);
    const int fd = ::open(m.at("f").c_str(), O_WRONLY);
    ::_exit(fd >= 0 && ::write(fd, "z", 1) == 1 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK((m.stat("f").st_mode & 07777) == 0777);
  CHECK(m.fs->content(f) == "z");
}

TEST_CASE("writers get in beside readers that come and go all the time", "[write]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const int reader_count = GENERATE(1, 3), writer_count = GENERATE(1, 2);
  INFO(reader_count << " readers, " << writer_count << " writers");
  const uint64_t f = m.fs->add_file(1, "f", text('a', 8192), true);
  m.mount();
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0}, wrong{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < reader_count; ++t) {
    readers.emplace_back([&] {
      char page[8192];
      while (!stop) {
        UniqueFd fd = m.open("f");
        if (!fd) ++failed;
        if (fd && ::pread(fd.get(), page, sizeof page, 0) != sizeof page) ++wrong;
      }
    });
  }
  std::vector<std::thread> writers;
  for (int t = 0; t < writer_count; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        UniqueFd fd = m.open("f", i % 2 ? O_WRONLY : O_RDWR);
        const char c = static_cast<char>('b' + i % 20);
        if (!fd || !put(fd.get(), text(c, 4096), t * 4096)) {
          ++failed;
          continue;
        }
        fd.reset();
        UniqueFd again = m.open("f");  // close-to-open: passthrough or not
        char seen[2] = {};
        if (::pread(again.get(), seen, 1, t * 4096 + 100) != 1 || seen[0] != c) ++wrong;
      }
    });
  }
  for (auto& w : writers) w.join();
  stop = true;
  for (auto& r : readers) r.join();
  CHECK(failed == 0);
  CHECK(wrong == 0);
  CHECK(m.fs->content(f)[0] == 'b' + 499 % 20);
  CHECK(eventually([&] { return m.fs->open_files == 0; }));
}
