#include "cache/cache_dir.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <set>

#include "base/clock.h"
#include "cache/budget.h"
#include "cache/cache_file.h"
#include "cache/temp_dir.h"

namespace s3cache::cache {
namespace {

namespace fs = std::filesystem;

std::string only_folder(const std::string& root) { return fs::directory_iterator(root)->path().string(); }
size_t count(const std::string& path) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}
void put_text(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
bool mentions(const Error& e, const std::string& text) { return e.message.find(text) != std::string::npos; }

// A tmpfs of its own; mounted() is false where that is not allowed.
class SmallDisk {
 public:
  explicit SmallDisk(const char* options)
      : mounted_(::mount("t", dir_.path().c_str(), "tmpfs", 0, options) == 0) {
    if (!mounted_) WARN("skipped: mounting a tmpfs needs root (" << std::strerror(errno) << ")");
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return dir_.path(); }

 private:
  TempDir dir_;
  bool mounted_;
};

TEST_CASE("A cache folder is made once and found again") {
  TempDir tmp;
  const std::string root = tmp.path() + "/a/b";
  std::string path;
  {
    const auto dir = open_dir(root);
    path = dir->path();
    CHECK(dir->fresh());
    CHECK(path.starts_with(root + "/data-"));
    CHECK(count(path + "/data") == 256);
    std::ifstream version(path + "/version");
    std::string line;
    std::getline(version, line);
    CHECK(line == "s3cache 1");
  }
  const auto again = open_dir(root);
  CHECK_FALSE(again->fresh());
  CHECK(again->path() == path);
}

TEST_CASE("Another identity has another folder, a second mount of the same a numbered one") {
  TempDir tmp;
  const auto first = open_dir(tmp.path());
  auto second = open_dir(tmp.path());
  const auto third = open_dir(tmp.path());
  CHECK(second->path() == first->path() + "-2");
  CHECK(third->path() == first->path() + "-3");
  second.reset();
  CHECK(open_dir(tmp.path())->path() == first->path() + "-2");
  CacheDirOptions other = dir_options(tmp.path());
  other.identity = "http://127.0.0.1:9000\ndata\n";
  CHECK(CacheDir::open(other).value()->path().substr(0, first->path().size()) != first->path());
}

TEST_CASE("A folder of a newer format is refused and left alone") {
  TempDir tmp;
  open_dir(tmp.path());
  const std::string folder = only_folder(tmp.path());
  fs::remove(folder + "/lock");
  put_text(folder + "/version", "s3cache 2\nwhatever\n");
  const auto dir = CacheDir::open(dir_options(tmp.path()));
  REQUIRE(dir.is(Code::kNewerFormat));
  CHECK(mentions(dir.error(), folder));
  CHECK(mentions(dir.error(), "use_cache="));
  CHECK_FALSE(fs::exists(folder + "/lock"));
  CHECK(count(tmp.path()) == 1);
}

TEST_CASE("An older, unreadable or missing version file means a rebuild") {
  for (const char* text : {"s3cache 0\nx\n", "garbage", "", "s3cache 1"}) {
    CAPTURE(text);
    TempDir tmp;
    {
      const auto dir = open_dir(tmp.path());
      REQUIRE(dir->create_file(7, 100).ok());
      put_text(dir->store_path(), "old");
      put_text(dir->path() + "/version", text);
    }
    const auto dir = open_dir(tmp.path());
    CHECK(dir->fresh());
    CHECK_FALSE(fs::exists(dir->store_path()));
    CHECK_FALSE(fs::exists(dir->file_path(7)));
    CHECK(count(dir->path() + "/data") == 256);
    CHECK(dir->purge_trash().value() == 2);
    CHECK_FALSE(fs::exists(dir->path() + "/trash-1"));
    CHECK_FALSE(CacheDir::open(dir_options(tmp.path())).value()->path() == dir->path());
  }
}

TEST_CASE("Errors name the path and the way out, and leave nothing behind") {
  TempDir tmp;
  CacheDirOptions o = dir_options(tmp.path() + "/none/deeper");
  o.create_root = false;
  auto dir = CacheDir::open(o);
  REQUIRE(dir.is(Code::kNotFound));
  CHECK(mentions(dir.error(), "check_cache_dir_exist"));
  CHECK(mentions(dir.error(), o.root));
  CHECK(count(tmp.path()) == 0);

  put_text(tmp.path() + "/file", "");
  for (const char* below : {"/file", "/file/sub"}) {
    dir = CacheDir::open(dir_options(tmp.path() + below));
    REQUIRE(dir.is(Code::kNotDirectory));
    CHECK(mentions(dir.error(), tmp.path() + "/file"));
  }
  CHECK(count(tmp.path()) == 1);
}

TEST_CASE("A folder that cannot be written") {
  SmallDisk disk("size=1m");
  if (!disk.mounted()) return;
  REQUIRE(::mount("t", disk.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  const auto dir = CacheDir::open(dir_options(disk.path()));
  REQUIRE(dir.is(Code::kAccessDenied));
  CHECK(mentions(dir.error(), disk.path()));
  CHECK(mentions(dir.error(), "use_cache="));
}

TEST_CASE("A disk without room for a new cache: refused, nothing left behind") {
  for (const char* limit : {"size=1m", "size=1m,nr_inodes=100"}) {
    CAPTURE(limit);
    SmallDisk disk(limit);
    if (!disk.mounted()) return;
    CacheDirOptions o = dir_options(disk.path() + "/new");
    o.ballast_bytes = 8 << 20;
    const auto dir = CacheDir::open(o);
    REQUIRE(dir.is(Code::kNoSpace));
    CHECK(mentions(dir.error(), o.root));
    CHECK(count(disk.path()) == 0);
  }
}

TEST_CASE("The ballast is real, goes when asked and comes back when there is room") {
  SmallDisk disk("size=16m");
  if (!disk.mounted()) return;
  CacheDirOptions o = dir_options(disk.path());
  o.ballast_bytes = 4 << 20;
  auto dir = std::move(CacheDir::open(o).value());
  const int64_t before = dir->space().value().free;
  CHECK(before <= 12 << 20);
  dir->release_ballast();
  CHECK(dir->space().value().free >= before + (4 << 20));
  const auto fill = dir->create_file(1, 0);
  REQUIRE(::posix_fallocate(fill->get(), 0, 10 << 20) == 0);
  dir->restore_ballast();  // 6 MiB free: too little to take 4
  CHECK(dir->space().value().free > 5 << 20);
  REQUIRE(dir->unlink_file(1).ok());
  REQUIRE(::ftruncate(fill->get(), 0) == 0);
  dir->restore_ballast();
  CHECK(dir->space().value().free <= before);

  // An existing cache on a full disk comes up all the same.
  dir->release_ballast();
  const auto big = dir->create_file(2, 0);
  REQUIRE(::posix_fallocate(big->get(), 0, dir->space().value().free - 65536) == 0);
  dir.reset();
  CHECK(CacheDir::open(o).ok());
}

TEST_CASE("A full disk: the write fails, marks nothing, and works again with room") {
  SmallDisk disk("size=2m");
  if (!disk.mounted()) return;
  const auto dir = open_dir(disk.path());
  FdCache fds(4);
  CacheFile file(*dir, fds, 9, 8 << 20, true);
  const auto data = random_bytes(1 << 20, 1);
  REQUIRE(file.write(0, data).ok());
  CHECK(file.write(1 << 20, data).is(Code::kNoSpace));
  CHECK(file.write(2 << 20, data).is(Code::kNoSpace));
  CHECK(file.valid_bytes() == 1 << 20);
  CHECK_FALSE(file.covers(1 << 20, 1));
  std::vector<std::byte> out(1 << 20);
  CHECK(file.read(0, out).ok());
  CHECK(out == data);
  file.clear(0, 1 << 20);
  REQUIRE(file.punch(0, 1 << 20).ok());
  REQUIRE(file.punch(1 << 20, 7 << 20).ok());
  CHECK(file.write(1 << 20, data).ok());
}

TEST_CASE("Files are made, listed, unlinked, synced") {
  TempDir tmp;
  const auto dir = open_dir(tmp.path());
  for (uint64_t fid : {uint64_t{1}, uint64_t{0xffffffffffffff02}, uint64_t{0x101}})
    REQUIRE(dir->create_file(fid, 10).ok());
  CHECK(dir->create_file(1, 10).is(Code::kExists));
  CHECK(dir->file_path(0x101).ends_with("/data/01/0000000000000101"));
  put_text(dir->path() + "/data/01/not-a-file-of-ours", "");
  std::set<uint64_t> seen;
  REQUIRE(dir->each_file([&](uint64_t fid) { seen.insert(fid); }).ok());
  CHECK(seen == std::set<uint64_t>{1, 0x101, 0xffffffffffffff02});
  CHECK(dir->unlink_file(1).ok());
  CHECK(dir->unlink_file(1).ok());
  CHECK(dir->open_file(1, false).is(Code::kNotFound));
  fs::remove_all(dir->path() + "/data/05");
  CHECK(dir->create_file(5, 10).ok());
  CHECK(dir->sync_folder(5).ok());
  CHECK(dir->sync().ok());
}

TEST_CASE("A rebuild is purged in pieces and never deletes what was not uploaded") {
  TempDir tmp;
  const auto dir = open_dir(tmp.path());
  for (uint64_t fid = 0; fid < 20; fid++) REQUIRE(dir->create_file(fid, 10).ok());
  REQUIRE(::setxattr(dir->file_path(3).c_str(), kDirtyXattr, "key", 3, 0) == 0);
  REQUIRE(dir->rebuild().ok());
  CHECK(dir->fresh());
  REQUIRE(dir->create_file(3, 10).ok());  // the new life goes on meanwhile
  size_t purged = 0;
  for (size_t n; (n = dir->purge_trash(7).value()) > 0; purged += n) CHECK(n <= 7);
  CHECK(purged == 20);
  CHECK_FALSE(fs::exists(dir->path() + "/trash-1"));
  CHECK(fs::exists(dir->path() + "/recover/trash-1-0000000000000003"));
  CHECK(fs::exists(dir->file_path(3)));
}

TEST_CASE("The lock dies with its process") {
  TempDir tmp;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto dir = CacheDir::open(dir_options(tmp.path()));
    char ok = dir.ok() ? 1 : 0;
    if (::write(ready[1], &ok, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char ok = 0;
  REQUIRE(::read(ready[0], &ok, 1) == 1);
  CHECK(ok == 1);
  const std::string second = open_dir(tmp.path())->path();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(open_dir(tmp.path())->path() + "-2" == second);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("After kill -9 in the middle of writes, pages told to the store hold their bytes") {
  TempDir tmp;
  constexpr int64_t kSize = 64 << 20;
  const auto data = random_bytes(1 << 20, 5);
  int pipes[2];
  REQUIRE(::pipe(pipes) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto dir = CacheDir::open(dir_options(tmp.path()));
    FdCache fds(4);
    CacheFile file(**dir, fds, 1, kSize, true);
    for (int64_t at = 0;; at = (at + (1 << 20)) % kSize) {
      if (!file.write(at, data).ok()) ::_exit(1);
      for (const auto& [chunk, bits] :
           file.take_changes().maps) {  // the "store": whole records through a pipe
        std::string record(1028, '\0');
        std::memcpy(record.data(), &chunk, 4);
        std::memcpy(record.data() + 4, bits.data(), 1024);
        if (::write(pipes[1], record.data(), record.size()) != 1028) ::_exit(1);
      }
    }
  }
  ::close(pipes[1]);
  FdCache fds(4);
  std::vector<std::pair<uint32_t, std::string>> stored;
  std::string record(1028, '\0');
  for (size_t have = 0;;) {
    const ssize_t n = ::read(pipes[0], record.data() + have, record.size() - have);
    if (n <= 0) break;
    have += static_cast<size_t>(n);
    if (have < record.size()) continue;
    have = 0;
    uint32_t chunk;
    std::memcpy(&chunk, record.data(), 4);
    stored.emplace_back(chunk, record.substr(4));
    if (stored.size() == 20) ::kill(child, SIGKILL);
  }
  ::close(pipes[0]);
  ::waitpid(child, nullptr, 0);
  const auto dir = open_dir(tmp.path());
  CacheFile file(*dir, fds, 1, kSize, false);
  for (const auto& [chunk, bits] : stored) file.load_map(chunk, bits);
  REQUIRE(file.valid_bytes() >= 20 << 20);
  std::vector<std::byte> out(1 << 20);
  for (int64_t at = 0; at < kSize && file.covers(at, 1 << 20); at += 1 << 20) {
    REQUIRE(file.read(at, out).ok());
    CHECK(out == data);
  }
}

TEST_CASE("boot_id looks like one") {
  CHECK(boot_id().size() == 36);
  CHECK(boot_id() == boot_id());
}

}  // namespace
}  // namespace s3cache::cache
