// Lengths: truncate by name and by handle, O_TRUNC, and who may still believe the old one.
#include <sys/mman.h>

#include <cerrno>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

namespace {

constexpr size_t kSize = 20'000;
std::string text(char c, size_t n = kSize) { return std::string(n, c); }

off_t size_of(int fd) {
  struct stat s {};
  return ::fstat(fd, &s) == 0 ? s.st_size : -1;
}

}  // namespace

TEST_CASE("truncated down and up again under a mapping: zeros, never old bytes", "[truncate]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), false);
  m.mount();
  UniqueFd fd = m.open("f", O_RDWR);
  char* p = static_cast<char*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  p[10] = 'm';  // dirty in the kernel
  REQUIRE(::ftruncate(fd.get(), 5000) == 0);
  CHECK(size_of(fd.get()) == 5000);
  REQUIRE(::ftruncate(fd.get(), kSize) == 0);
  const std::string want = text('a', 10) + "m" + text('a', 4989) + text('\0', kSize - 5000);
  CHECK(std::string(p, kSize) == want);
  ::munmap(p, kSize);
  CHECK(m.read_fd(fd.get()) == want);
  fd.reset();
  CHECK(m.fs->content(f) == want);
}

TEST_CASE("O_TRUNC comes with the open: one request, and the length is 0 for all", "[truncate]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const bool sealed = GENERATE(true, false);
  const uint64_t f = m.fs->add_file(1, "f", text('a'), sealed);
  m.mount();
  UniqueFd reader = m.open("f");
  CHECK(m.read_fd(reader.get()) == text('a'));
  CHECK(size_of(reader.get()) == kSize);
  UniqueFd fd = m.open("f", O_WRONLY | O_TRUNC);
  REQUIRE(fd);
  CHECK(m.fs->count[FakeFilesystem::kSetattr] == 0);
  CHECK(m.fs->content(f).empty());
  CHECK(size_of(fd.get()) == 0);
  CHECK(eventually([&] { return size_of(reader.get()) == 0; }));
  CHECK(eventually([&] { return m.read_fd(reader.get()).empty(); }));
  REQUIRE(::pwrite(fd.get(), "new", 3, 0) == 3);
  CHECK(eventually([&] { return m.read_fd(reader.get()) == "new"; }));
  CHECK(m.slurp("f") == "new");
}

TEST_CASE("truncate by name under passthrough readers: they follow, new opens read what is there",
          "[truncate]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), true);
  m.mount();
  UniqueFd reader = m.open("f");
  REQUIRE(::truncate(m.at("f").c_str(), 7) == 0);
  CHECK(size_of(reader.get()) == 7);
  CHECK(m.read_fd(reader.get()) == text('a', 7));
  CHECK(m.slurp("f") == text('a', 7));
  REQUIRE(::truncate(m.at("f").c_str(), 9) == 0);
  CHECK(m.slurp("f") == text('a', 7) + std::string(2, '\0'));
  CHECK(m.fs->content(f).size() == 9);
}

TEST_CASE("truncate by name reaches the nodeid of the writers, though the path still led to the readers'",
          "[truncate]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  const uint64_t f = m.fs->add_file(1, "f", text('a'), true);
  m.mount();
  if (!m.passthrough()) return;
  UniqueFd reader = m.open("f");
  const std::string stale = "/proc/self/fd/" + std::to_string(reader.get());  // leads to the readers' nodeid
  UniqueFd writer = m.open("f", O_RDWR | O_APPEND);
  REQUIRE(writer);
  CHECK(::truncate(stale.c_str(), 5) == -1);
  CHECK(errno == ESTALE);
  REQUIRE(::truncate(m.at("f").c_str(), 5) == 0);
  REQUIRE(::write(writer.get(), "zz", 2) == 2);
  CHECK(m.fs->content(f) == "aaaaazz");
  CHECK(m.read_fd(writer.get()) == "aaaaazz");
  CHECK(size_of(writer.get()) == 7);
  // Attributes other than the length may be set through any descriptor, and all see them.
  CHECK(::fchmod(reader.get(), 0604) == 0);
  CHECK(eventually([&] {
    struct stat s {};
    return ::fstat(writer.get(), &s) == 0 && (s.st_mode & 07777) == 0604;
  }));
  CHECK((m.stat("f").st_mode & 07777) == 0604);
}

TEST_CASE("every attribute can be set, by name and by handle", "[truncate]") {
  SKIP_WITHOUT_FUSE();
  WritableMount m;
  m.fs->add_file(1, "f", "x", false);
  m.mount();
  const std::string f = m.at("f");
  CHECK(::chmod(f.c_str(), 04711) == 0);
  CHECK(::chown(f.c_str(), 12, 34) == 0);
  const timespec times[2] = {{1000, 5}, {2000, 7}};
  CHECK(::utimensat(AT_FDCWD, f.c_str(), times, 0) == 0);
  struct stat s = m.stat("f");
  CHECK((s.st_mode & 07777) == 0711);  // chown takes set-user-id off
  CHECK(s.st_uid == 12);
  CHECK(s.st_gid == 34);
  CHECK(s.st_atim.tv_sec == 1000);
  CHECK(s.st_atim.tv_nsec == 5);
  CHECK(s.st_mtim.tv_sec == 2000);
  CHECK(s.st_mtim.tv_nsec == 7);
  UniqueFd fd = m.open("f", O_RDWR);
  const timespec some[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  CHECK(::futimens(fd.get(), some) == 0);
  CHECK(::fchmod(fd.get(), 0600) == 0);
  s = m.stat("f");
  CHECK(s.st_atim.tv_sec == 1000);
  CHECK(std::abs(s.st_mtim.tv_sec - ::time(nullptr)) < 10);
  CHECK((s.st_mode & 07777) == 0600);
}
