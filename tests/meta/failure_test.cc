// Full maps, full disks, dead environments, damaged and foreign files.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "meta/records.h"
#include "test_util.h"

namespace s3cache::meta {
namespace {

Batch filler(uint64_t from, uint64_t n) {
  Batch b;
  for (uint64_t i = from; i < from + n; ++i) b.put(Table::kInode, id_key(i), std::string(300, 'i'));
  return b;
}

// Without a failure of its own the store tries again after a second; nobody waits longer than this for it.
template <class F>
void eventually(F f) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!f()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Status open_status(const std::string& path) {
  Options o;
  o.path = path;
  auto s = MetaStore::open(o);
  return s.ok() ? Status() : Status(s.error());
}

void overwrite(const std::string& path, off_t at, const std::string& bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

// A small file system of its own; not mounted where this is not allowed.
class SmallDisk {
 public:
  SmallDisk() { mounted_ = ::mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=4m") == 0; }
  ~SmallDisk() {
    if (mounted_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  std::string file(const std::string& name) const { return dir_.file(name); }

 private:
  TempDir dir_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("the map grows") {
  TempDir dir;
  auto s = open_store(dir.file(), nullptr, 64 << 10);
  for (uint64_t i = 0; i < 20; ++i) s->apply(filler(i * 500, 500));
  REQUIRE(s->flush().ok());
  REQUIRE(s->stats().map_bytes >= 4 << 20);
  REQUIRE(s->stats().entries[static_cast<int>(Table::kInode)] == 10'000);
  s.reset();
  s = open_store(dir.file(), nullptr, 64 << 10);  // smaller than the file
  REQUIRE(must_get(*s, Table::kInode, id_key(9'999)) == std::string(300, 'i'));
  REQUIRE(s->apply_durable(filler(10'000, 5'000)).ok());
}

TEST_CASE("a snapshot that never ends costs a commit, not a hang") {
  TempDir dir;
  auto s = open_store(dir.file(), nullptr, 1 << 20);
  auto snap = s->snapshot();
  REQUIRE(s->apply_durable(filler(0, 20'000)).is(Code::kBusy));
  REQUIRE(must_get(*s, Table::kInode, id_key(1)) == "(none)");
  snap.reset();
  REQUIRE(s->apply_durable(filler(0, 20'000)).ok());
}

TEST_CASE("a failed commit: waiters get the error, the rest stays visible and is written later") {
  TempDir dir;
  std::atomic<int> fault = 0;
  auto s = open_store(dir.file(), [&] { return fault.load(); });
  REQUIRE(s->apply_durable(one(Table::kState, "a", "0")).ok());
  REQUIRE(s->health().ok());
  fault = ENOSPC;
  s->apply(one(Table::kState, "a", "1"));
  REQUIRE(s->apply_durable(one(Table::kState, "a", "2")).is(Code::kNoSpace));
  REQUIRE(must_get(*s, Table::kState, "a") == "1");
  REQUIRE(s->health().is(Code::kNoSpace));
  s->apply(one(Table::kState, "b", "later"));
  REQUIRE(s->flush().is(Code::kNoSpace));
  REQUIRE(must_get(*s, Table::kState, "b") == "later");
  fault = 0;
  eventually([&] { return s->health().ok() && s->stats().overlay_ops == 0; });
  REQUIRE(s->stats().failed_commits >= 2);
  s.reset();
  s = open_store(dir.file());
  REQUIRE(must_get(*s, Table::kState, "a") == "1");
  REQUIRE(must_get(*s, Table::kState, "b") == "later");
}

TEST_CASE("an overlay that cannot be written holds back apply, answers durable batches, and drains") {
  TempDir dir;
  std::atomic<int> fault = EIO;
  auto s = open_store(dir.file(), [&] { return fault.load(); });
  REQUIRE(s->apply_durable(one(Table::kState, "a", "1")).is(Code::kIo));
  std::atomic<int> applied = 0;
  std::thread writer([&] {
    for (uint32_t i = 0; i < 10; ++i, ++applied) {
      Batch b;
      for (uint32_t j = 0; j < 10; ++j) b.put(Table::kMap, chunk_key(i, j), std::string(1 << 20, 'm'));
      s->apply(std::move(b));
    }
  });
  eventually([&] { return applied == 7; });  // 70 MiB: one batch over the mark
  REQUIRE(s->apply_durable(one(Table::kState, "a", "1")).is(Code::kIo));
  REQUIRE(applied == 7);
  fault = 0;
  writer.join();
  REQUIRE(s->flush().ok());
  REQUIRE(s->stats().entries[static_cast<int>(Table::kMap)] == 100);
}

TEST_CASE("a dead environment is opened again") {
  TempDir dir;
  std::atomic<int> faults = 0;
  auto s = open_store(dir.file(), [&] { return faults > 0 ? faults--, MDB_PANIC : 0; });
  REQUIRE(s->apply_durable(one(Table::kState, "a", "1")).ok());
  REQUIRE(must_get(*s, Table::kState, "a") == "1");
  faults = 1;
  REQUIRE(s->apply_durable(one(Table::kState, "a", "2")).ok());
  REQUIRE(must_get(*s, Table::kState, "a") == "2");
  faults = 2;  // twice in a row is an error for the waiter
  REQUIRE(s->apply_durable(one(Table::kState, "a", "3")).is(Code::kIo));
  REQUIRE(must_get(*s, Table::kState, "a") == "2");
  REQUIRE(s->apply_durable(one(Table::kState, "a", "3")).ok());
}

TEST_CASE("a full disk") {
  SmallDisk disk;
  if (!disk.mounted()) {
    WARN("no right to mount: not tested on a real full disk");
    return;
  }
  auto s = open_store(disk.file("meta.mdb"));
  REQUIRE(s->apply_durable(filler(0, 100)).ok());
  { std::ofstream(disk.file("ballast")) << std::string(8 << 20, 'b'); }  // takes what is left
  uint64_t stored = 100;
  Status st;
  while (stored < 100'000 && (st = s->apply_durable(filler(stored, 1000))).ok()) stored += 1000;
  REQUIRE(st.is(Code::kNoSpace));
  s->apply(filler(200'000, 2000));
  REQUIRE(s->flush().is(Code::kNoSpace));
  // Reads go on, over what is stored and what waits.
  REQUIRE(must_get(*s, Table::kInode, id_key(stored - 1)) == std::string(300, 'i'));
  REQUIRE(must_get(*s, Table::kInode, id_key(stored)) == "(none)");
  REQUIRE(must_get(*s, Table::kInode, id_key(201'999)) == std::string(300, 'i'));
  REQUIRE(::unlink(disk.file("ballast").c_str()) == 0);
  REQUIRE(s->flush().ok());
  REQUIRE(s->health().ok());
  REQUIRE(s->apply_durable(one(Table::kState, "after", "1")).ok());
  s.reset();
  s = open_store(disk.file("meta.mdb"));
  REQUIRE(s->stats().entries[static_cast<int>(Table::kInode)] == stored + 2000);
}

TEST_CASE("a newer format is refused and left alone") {
  TempDir dir;
  REQUIRE(open_store(dir.file())->apply_durable(one(Table::kState, "format", "2")).ok());
  const Status s = open_status(dir.file());
  REQUIRE(s.is(Code::kNewerFormat));
  REQUIRE(s.error().message.find(dir.file()) != std::string::npos);
  REQUIRE(s.error().message.find("another cache directory") != std::string::npos);
  REQUIRE(open_status(dir.file()).is(Code::kNewerFormat));
}

TEST_CASE("a nonsensical format is damage") {
  for (const char* text : {"", "x", "0", "-1", "1x"}) {
    TempDir dir;
    CAPTURE(text);
    REQUIRE(open_store(dir.file())->apply_durable(one(Table::kState, "format", text)).ok());
    REQUIRE(open_status(dir.file()).is(Code::kCorrupt));
  }
}

TEST_CASE("a damaged file is an error, never a crash, and can be removed") {
  TempDir dir;
  { REQUIRE(open_store(dir.file())->apply_durable(filler(0, 2000)).ok()); }
  const auto size = static_cast<off_t>(std::filesystem::file_size(dir.file()));
  SECTION("garbage") { overwrite(dir.file(), 0, std::string(8192, 'g')); }
  SECTION("zeros") { overwrite(dir.file(), 0, std::string(8192, '\0')); }
  SECTION("one header") { overwrite(dir.file(), 4096, std::string(100, '\0')); }
  SECTION("a root outside") { overwrite(dir.file(), 16 + 24 + 40, std::string(8, '\x7e')); }
  SECTION("a few bytes") { REQUIRE(::truncate(dir.file().c_str(), 100) == 0); }
  SECTION("cut to its headers") { REQUIRE(::truncate(dir.file().c_str(), 8192) == 0); }
  SECTION("cut in half") { REQUIRE(::truncate(dir.file().c_str(), size / 2) == 0); }
  SECTION("a folder") {
    REQUIRE(::unlink(dir.file().c_str()) == 0);
    REQUIRE(::mkdir(dir.file().c_str(), 0700) == 0);
    REQUIRE(open_status(dir.file()).is(Code::kCorrupt));
    REQUIRE(::rmdir(dir.file().c_str()) == 0);
    REQUIRE(open_status(dir.file()).ok());
    return;
  }
  REQUIRE(open_status(dir.file()).is(Code::kCorrupt));
  REQUIRE(remove_store_files(dir.file()).ok());
  auto s = open_store(dir.file());
  REQUIRE(must_get(*s, Table::kInode, id_key(1)) == "(none)");
}

TEST_CASE("what trips LMDB itself is damage on the next open") {
  TempDir dir;
  { REQUIRE(open_store(dir.file())->apply_durable(one(Table::kState, "a", "1")).ok()); }
  mark_store_damaged(dir.file());
  REQUIRE(open_status(dir.file()).is(Code::kCorrupt));
  REQUIRE(remove_store_files(dir.file()).ok());
  REQUIRE(open_status(dir.file()).ok());
}

TEST_CASE("an LMDB file of somebody else is not ours") {
  TempDir dir;
  MDB_env* env = nullptr;
  REQUIRE(mdb_env_create(&env) == 0);
  REQUIRE(mdb_env_open(env, dir.file().c_str(), MDB_NOSUBDIR, 0600) == 0);
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
  REQUIRE(mdb_dbi_open(txn, nullptr, 0, &dbi) == 0);
  MDB_val k{3, const_cast<char*>("key")};
  REQUIRE(mdb_put(txn, dbi, &k, &k, 0) == 0);
  REQUIRE(mdb_txn_commit(txn) == 0);
  mdb_env_close(env);
  REQUIRE(open_status(dir.file()).is(Code::kCorrupt));
}

TEST_CASE("a missing folder is an error with its name") {
  const Status s = open_status("/nonexistent-folder/meta.mdb");
  REQUIRE(s.is(Code::kNotFound));
  REQUIRE(s.error().message.find("nonexistent-folder") != std::string::npos);
}

TEST_CASE("a store that may only be read answers reads") {
  SmallDisk disk;
  if (!disk.mounted()) return;
  { REQUIRE(open_store(disk.file("meta.mdb"))->apply_durable(one(Table::kState, "a", "1")).ok()); }
  const std::string folder = std::filesystem::path(disk.file("meta.mdb")).parent_path();
  REQUIRE(::mount(nullptr, folder.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  REQUIRE_FALSE(open_status(disk.file("meta.mdb")).ok());
  Options o;
  o.path = disk.file("meta.mdb");
  o.read_only_fallback = true;
  auto s = MetaStore::open(o);
  REQUIRE(s.ok());
  REQUIRE(must_get(**s, Table::kState, "a") == "1");
  REQUIRE((*s)->apply_durable(one(Table::kState, "a", "2")).is(Code::kReadOnly));
  REQUIRE((*s)->next_id().is(Code::kReadOnly));
  REQUIRE(must_get(**s, Table::kState, "a") == "1");
}

}  // namespace s3cache::meta
