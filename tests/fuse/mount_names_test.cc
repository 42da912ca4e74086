// Names, attributes and listings through a real mount.
#include <dirent.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "fuse/mount_fixture.h"

using namespace s3cache;
using namespace s3cache::fuse;

TEST_CASE("a mount shows names, attributes, links and contents", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t d = m.fs->add_dir(1, "dir");
  const uint64_t f = m.fs->add_file(d, "file", "hello", false);
  m.fs->add_link(1, "link", "dir/file");
  m.mount();
  CHECK(m.stat("dir").st_ino == d);
  const struct stat s = m.stat("dir/file");
  CHECK(s.st_ino == f);
  CHECK(s.st_size == 5);
  CHECK(s.st_mode == (S_IFREG | 0644));
  CHECK(s.st_mtim.tv_sec == 1'700'000'000);
  CHECK(m.slurp("dir/file") == "hello");
  CHECK(m.slurp("link") == "hello");
  char target[64] = {};
  CHECK(::readlink(m.at("link").c_str(), target, sizeof target) == 8);
  struct statvfs v {};
  CHECK(::statvfs(m.mnt.c_str(), &v) == 0);
  CHECK(v.f_bfree == 500);
  CHECK((v.f_flag & ST_RDONLY) != 0);
}

TEST_CASE("absence is believed for its TTL, and a removal is announced", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "gone", "x", false);
  m.mount();
  CHECK(m.stat("absent").st_ino == 0);
  const int asked = m.fs->count[FakeFilesystem::kLookup];
  CHECK(m.stat("absent").st_ino == 0);
  CHECK(m.fs->count[FakeFilesystem::kLookup] == asked);
  CHECK(m.stat("gone").st_ino != 0);
  m.fs->remove(1, "gone");
  CHECK(eventually([&] { return m.stat("gone").st_ino == 0; }));
}

TEST_CASE("an object that vanished under a known name is ENOENT, not ESTALE", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", "x", false);
  m.mount();
  REQUIRE(m.stat("f").st_ino != 0);
  m.fs->set_listener(nullptr);  // nobody tells the kernel
  m.fs->remove(1, "f");
  CHECK(!m.open("f"));
  CHECK(errno == ENOENT);
}

TEST_CASE("readdir: every name once, seekdir to any place while names come and go", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t d = m.fs->add_dir(1, "d");
  for (int i = 0; i < 3000; ++i) m.fs->add_file(d, "n" + std::to_string(i), "", false);
  m.mount();
  DIR* dir = ::opendir(m.at("d").c_str());
  REQUIRE(dir != nullptr);
  std::vector<std::string> seen;
  std::vector<long> place;
  while (const dirent* e = ::readdir(dir)) {
    seen.push_back(e->d_name);
    place.push_back(::telldir(dir));
    if (seen.size() == 1500) {
      m.fs->remove(d, "n10");    // behind us
      m.fs->remove(d, "n2999");  // before us
      m.fs->add_file(d, "late", "", false);
    }
  }
  std::set<std::string> unique(seen.begin(), seen.end());
  CHECK(unique.size() == seen.size());
  CHECK(unique.contains("."));
  CHECK(unique.contains(".."));
  for (int i = 0; i < 2900; ++i) CHECK(unique.contains("n" + std::to_string(i)));
  for (size_t at : {size_t{0}, size_t{1}, size_t{7}, size_t{1400}, size_t{2500}}) {
    ::seekdir(dir, place[at]);
    const dirent* e = ::readdir(dir);
    REQUIRE(e != nullptr);
    // n10 was removed: the place behind n9 leads to n11 now.
    CHECK(std::string(e->d_name) == seen[at + 1]);
  }
  m.fs->remove(d, seen[2000]);
  ::seekdir(dir, place[1999]);
  CHECK(std::string(::readdir(dir)->d_name) == seen[2001]);
  ::closedir(dir);
}

TEST_CASE("ls -l costs no LOOKUP where READDIRPLUS knew the attributes, and d_type may be unknown",
          "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  const uint64_t d = m.fs->add_dir(1, "d");
  for (int i = 0; i < 50; ++i) m.fs->add_file(d, "f" + std::to_string(i), "abc", false);
  const bool unknown = GENERATE(false, true);
  m.fs->set_unknown_types(unknown);
  m.mount();
  DIR* dir = ::opendir(m.at("d").c_str());
  int files = 0, typed = 0;
  while (const dirent* e = ::readdir(dir)) {
    if (e->d_name[0] == '.') continue;
    ++files;
    typed += e->d_type == DT_REG;
    struct stat s {};
    CHECK(::fstatat(::dirfd(dir), e->d_name, &s, 0) == 0);
    CHECK(s.st_size == 3);
    CHECK(s.st_ino == e->d_ino);
  }
  ::closedir(dir);
  CHECK(files == 50);
  CHECK(typed == (unknown ? 0 : 50));
  CHECK(m.fs->count[FakeFilesystem::kLookup] == (unknown ? 51 : 1));
}

TEST_CASE("xattrs: ENOSYS without use_xattr, core's answers with it", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", "x", false);
  m.options.use_xattr = GENERATE(false, true);
  m.mount();
  char buf[64] = {};
  const ssize_t n = ::getxattr(m.at("f").c_str(), "user.s3cache.size", buf, sizeof buf);
  if (!m.options.use_xattr) {
    CHECK(n == -1);
    CHECK(errno == EOPNOTSUPP);
    return;
  }
  CHECK(std::string(buf, static_cast<size_t>(n)) == "123");
  CHECK(::getxattr(m.at("f").c_str(), "user.s3cache.size", nullptr, 0) == 3);
  CHECK(::getxattr(m.at("f").c_str(), "user.s3cache.size", buf, 2) == -1);
  CHECK(errno == ERANGE);
  CHECK(::getxattr(m.at("f").c_str(), "user.none", buf, sizeof buf) == -1);
  CHECK(errno == ENODATA);
  CHECK(::listxattr(m.at("f").c_str(), buf, sizeof buf) == 36);
}

TEST_CASE("everything that writes is EROFS, with and without MS_RDONLY", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  m.fs->add_file(1, "f", "x", false);
  m.fs->add_dir(1, "d");
  m.options.read_only = GENERATE(true, false);
  m.options.use_xattr = true;
  m.mount();
  auto erofs = [](long rc) { return rc == -1 && errno == EROFS; };
  const std::string f = m.at("f"), x = m.at("x");
  CHECK(erofs(::open(f.c_str(), O_WRONLY)));
  CHECK(erofs(::open(f.c_str(), O_RDWR)));
  CHECK(erofs(::open(f.c_str(), O_WRONLY | O_TRUNC)));
  CHECK(erofs(::open(f.c_str(), O_WRONLY | O_APPEND)));
  CHECK(erofs(::open(x.c_str(), O_RDONLY | O_CREAT, 0600)));
  CHECK(erofs(::mkdir(x.c_str(), 0700)));
  CHECK(erofs(::mknod(x.c_str(), S_IFIFO | 0600, 0)));
  CHECK(erofs(::symlink("a", x.c_str())));
  CHECK(::link(f.c_str(), x.c_str()) == -1);
  CHECK(errno == (m.options.read_only ? EROFS : EOPNOTSUPP));
  CHECK(erofs(::rename(f.c_str(), x.c_str())));
  CHECK(erofs(::unlink(f.c_str())));
  CHECK(erofs(::rmdir(m.at("d").c_str())));
  CHECK(erofs(::chmod(f.c_str(), 0600)));
  CHECK(erofs(::chown(f.c_str(), 1, 1)));
  CHECK(erofs(::truncate(f.c_str(), 0)));
  CHECK(erofs(::utimensat(AT_FDCWD, f.c_str(), nullptr, 0)));
  CHECK(erofs(::setxattr(f.c_str(), "user.a", "b", 1, 0)));
  CHECK(erofs(::removexattr(f.c_str(), "user.a")));
  CHECK(m.slurp("f") == "x");
}

TEST_CASE("a mountpoint that does not fit is refused with a reason", "[mount]") {
  SKIP_WITHOUT_FUSE();
  MountFixture m;
  auto refused = [&](Code code, const std::string& word) {
    auto r = Session::mount(m.options, *m.fs, m.notifier, [&] { return m.fs->next_id(); });
    REQUIRE_FALSE(r.ok());
    INFO(r.error().message);
    CHECK(r.code() == code);
    CHECK(r.error().message.find(word) != std::string::npos);
  };
  SECTION("missing") {
    m.options.mountpoint += "-missing";
    refused(Code::kNotFound, "does not exist");
  }
  SECTION("a file") {
    m.options.mountpoint = m.dir.path + "/file";
    UniqueFd(::open(m.options.mountpoint.c_str(), O_CREAT | O_WRONLY, 0600)).reset();
    refused(Code::kNotDirectory, "not a directory");
  }
  SECTION("not empty") {
    ::mkdir(m.at("x").c_str(), 0700);
    refused(Code::kNotEmpty, "-o nonempty");
    m.options.nonempty = true;
    m.mount();
  }
  SECTION("mounted already") {
    m.mount();
    refused(Code::kBusy, "mounted there already");
    CHECK(m.stat("").st_ino == 1);  // the first mount is untouched
  }
  SECTION("the daemon of an earlier mount is dead") {
    UniqueFd fuse(::open("/dev/fuse", O_RDWR));
    const std::string how = "fd=" + std::to_string(fuse.get()) + ",rootmode=40000,user_id=0,group_id=0";
    REQUIRE(::mount("dead", m.mnt.c_str(), "fuse", 0, how.c_str()) == 0);
    fuse.reset();
    refused(Code::kStale, "fusermount -uz");
    ::umount2(m.mnt.c_str(), MNT_DETACH);
  }
  SECTION("an unknown mount option leaves nothing mounted") {
    m.options.mount_options = {"no_such_option_at_all"};
    refused(Code::kInvalid, "option");
    struct stat a {
    }, b{};
    ::stat(m.mnt.c_str(), &a);
    ::stat(m.dir.path.c_str(), &b);
    CHECK(a.st_dev == b.st_dev);
  }
}
