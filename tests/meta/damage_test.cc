// Stores that are damaged while nobody has them open, and under a running store.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "meta/page_check.h"
#include "meta/records.h"
#include "meta/store_file.h"
#include "test_util.h"

namespace s3cache::meta {
namespace {

constexpr size_t kPage = 4096;
constexpr uint64_t kNames = 3000;

std::string name_of(uint64_t i) { return "name-" + std::to_string(100'000 + i); }

Inode inode_of(uint64_t i) {
  Inode n;
  n.parent = kRootIno;
  n.kind_known = true;
  n.size = static_cast<int64_t>(i);
  n.etag = "d41d8cd98f00b204e9800998ecf8427e";
  n.name = name_of(i);
  return n;
}

// A directory of kNames names, complete; a long link target (pages of its own), a journal.
Batch records() {
  Batch b;
  Inode root;
  root.kind = Kind::kDirectory;
  root.mtime_ns = 77;
  b.put(Table::kInode, id_key(kRootIno), root.encode());
  for (uint64_t i = 0; i < kNames; ++i) {
    b.put(Table::kDirent, dirent_key(kRootIno, name_of(i), false), Dirent{i + 2, 1}.encode());
    b.put(Table::kInode, id_key(i + 2), inode_of(i).encode());
  }
  b.put(Table::kDir, id_key(kRootIno), Dir{5, true}.encode());
  Ext ext;
  ext.symlink = std::string(4000, 'l');
  ext.xattrs = std::string(9000, 'x');
  b.put(Table::kExt, id_key(2), ext.encode());
  b.put(Table::kJournal, be64(1), "intent");
  return b;
}

Result<std::unique_ptr<MetaStore>> try_open(const std::string& path) {
  Options o;
  o.path = path;
  return MetaStore::open(o);
}

std::unique_ptr<MetaStore> must_open(const std::string& path) {
  auto s = try_open(path);
  INFO((s.ok() ? std::string() : s.error().message));
  REQUIRE(s.ok());
  return std::move(*s);
}

// A store with these records that was opened, changed and closed: its free list is not empty.
void make(const std::string& path) {
  REQUIRE(must_open(path)->apply_durable(records()).ok());
  auto s = must_open(path);
  for (uint64_t i = 0; i < 50; ++i) {
    Batch b;
    b.put(Table::kInode, id_key(i * 50 + 2), inode_of(i * 50).encode());
    REQUIRE(s->apply_durable(std::move(b)).ok());
  }
}

std::string content(const std::string& path) {
  std::string all(std::filesystem::file_size(path), '\0');
  const int fd = ::open(path.c_str(), O_RDONLY);
  REQUIRE(::pread(fd, all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
  ::close(fd);
  return all;
}

void overwrite(const std::string& path, size_t at, const std::string& bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)) ==
          static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

std::string garbage(std::mt19937_64& rng, size_t n) {
  std::string s(n, '\0');
  for (char& c : s) c = static_cast<char>(rng());
  return s;
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Every page that holds `text`, not the headers.
std::vector<size_t> pages_with(const std::string& all, const std::string& text) {
  std::vector<size_t> out;
  for (size_t p = 2; p < all.size() / kPage; ++p)
    if (std::string_view(all).substr(p * kPage, kPage).find(text) != std::string_view::npos) out.push_back(p);
  return out;
}

void use_everything(MetaStore& s) {
  for (int t = 0; t < kTableCount; ++t) {
    const auto table = static_cast<Table>(t);
    (void)s.scan(table, "", "", SIZE_MAX, [](std::string_view, std::string_view) { return true; });
  }
  for (uint64_t i = 0; i < kNames; i += 7) {
    REQUIRE(s.get(Table::kInode, id_key(i + 2)).ok());
    REQUIRE(s.get(Table::kDirent, dirent_key(kRootIno, name_of(i), false)).ok());
  }
}

template <class F>
void eventually(F f) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!f()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// Damages the pages that hold `text` under a running store.
size_t damage_pages(const std::string& path, const std::string& text) {
  const auto pages = pages_with(content(path), text);
  for (size_t p : pages) overwrite(path, p * kPage, std::string(kPage, '\0'));
  return pages.size();
}

void check_listings(MetaStore& store) {
  // A listing from before the damage proves no absence, one from after it does.
  store.apply(one(Table::kDir, id_key(kRootIno), Dir{5, true}.encode()));
  REQUIRE(must_get(store, Table::kDir, id_key(kRootIno)) == "(none)");
  REQUIRE_FALSE(store.snapshot()->get(Table::kDir, id_key(kRootIno))->has_value());
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  store.apply(one(Table::kDir, id_key(kRootIno), Dir{now, true}.encode()));
  REQUIRE(must_get(store, Table::kDir, id_key(kRootIno)) != "(none)");
}

}  // namespace

TEST_CASE("a whole store passes the check, also after a kill") {
  TempDir dir;
  make(dir.file());
  const auto checked = check_pages(dir.file(), {});
  INFO((checked.ok() ? std::string() : checked.error().message));
  REQUIRE(checked.ok());
  REQUIRE(checked->complete);
  REQUIRE(checked->pages > 100);
  const auto none = check_pages(dir.file(), {.budget = std::chrono::milliseconds(0)});
  REQUIRE(none.ok());
  REQUIRE_FALSE(none->complete);
}

TEST_CASE("the note of a clean close counts for exactly these bytes") {
  TempDir dir;
  const std::string note = dir.file("meta.ok");
  {
    auto s = must_open(dir.file());
    REQUIRE_FALSE(exists(note));
    REQUIRE(s->apply_durable(records()).ok());
  }
  REQUIRE(closed_cleanly(dir.file()));
  const std::string text = content(note);
  const auto inode_page = pages_with(content(dir.file()), name_of(1500));
  REQUIRE(inode_page.size() >= 1);
  {
    auto s = must_open(dir.file());
    REQUIRE_FALSE(exists(note));  // from here on the file may change
  }
  REQUIRE(closed_cleanly(dir.file()));
  SECTION("the same size at another time") {
    for (size_t p : inode_page) overwrite(dir.file(), p * kPage, std::string(kPage, 'g'));
    REQUIRE_FALSE(closed_cleanly(dir.file()));
    REQUIRE(try_open(dir.file()).is(Code::kCorrupt));
  }
  SECTION("an older note") {
    REQUIRE(must_open(dir.file())->apply_durable(one(Table::kState, "a", "1")).ok());
    overwrite(note, 0, text);
    REQUIRE_FALSE(closed_cleanly(dir.file()));
    REQUIRE(must_get(*must_open(dir.file()), Table::kState, "a") == "1");
  }
  SECTION("no note") {
    REQUIRE(::unlink(note.c_str()) == 0);
    REQUIRE(must_get(*must_open(dir.file()), Table::kInode, id_key(2)) == inode_of(0).encode());
  }
  SECTION("it goes with the store") {
    REQUIRE(remove_store_files(dir.file()).ok());
    REQUIRE(std::filesystem::is_empty(dir.path()));
  }
}

TEST_CASE("garbage in any page is found at open, or harms nothing") {
  const uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 rng(seed);
  TempDir dir;
  make(dir.file());
  const std::string whole = content(dir.file());
  const size_t pages = whole.size() / kPage;
  int found = 0, open = 0;
  const char* more = std::getenv("S3CACHE_TEST_ROUNDS");
  for (int round = 0; round < (more != nullptr ? std::atoi(more) : 300); ++round) {
    REQUIRE(remove_store_files(dir.file()).ok());
    overwrite(dir.file(), 0, whole);
    const size_t at = 2 * kPage + rng() % (whole.size() - 2 * kPage);
    // A whole page, some bytes (most often of its header: offsets and counts), one byte.
    const int kind = static_cast<int>(rng() % 3);
    CAPTURE(round, at, kind);
    std::string bytes = garbage(rng, kind == 0 ? kPage : kind == 1 ? 1 + rng() % 64 : 1);
    const size_t to = kind == 0 ? at / kPage * kPage : rng() % 2 == 0 ? at : at / kPage * kPage + rng() % 64;
    if (to + bytes.size() > whole.size()) bytes.resize(whole.size() - to);
    overwrite(dir.file(), to, bytes);
    auto s = try_open(dir.file());
    if (!s.ok()) {
      REQUIRE(s.is(Code::kCorrupt));
      ++found;
      continue;
    }
    ++open;
    // What decodes is taken: LMDB must live with it.
    use_everything(**s);
    REQUIRE((*s)->apply_durable(one(Table::kTrash, be64(7), "")).ok());
    REQUIRE_FALSE(exists(dir.file() + ".damaged"));
  }
  INFO(found << " found, " << open << " harmless, of " << pages << " pages");
  REQUIRE(found > open / 2);
}

TEST_CASE("a store cut anywhere is found at open") {
  const uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 rng(seed);
  TempDir dir;
  make(dir.file());
  const std::string whole = content(dir.file());
  for (int round = 0; round < 20; ++round) {
    REQUIRE(remove_store_files(dir.file()).ok());
    overwrite(dir.file(), 0, whole);
    const auto size = static_cast<off_t>(1 + rng() % (whole.size() * 9 / 10));
    CAPTURE(size);
    REQUIRE(::truncate(dir.file().c_str(), size) == 0);
    REQUIRE(try_open(dir.file()).is(Code::kCorrupt));
  }
}

// The files beside a store that started over belong to records that are gone.
static void check_next_start_rebuilds(TempDir& dir) {
  REQUIRE_FALSE(exists(dir.file("meta.ok")));
  REQUIRE(try_open(dir.file()).is(Code::kCorrupt));
  REQUIRE(remove_store_files(dir.file()).ok());
  REQUIRE(try_open(dir.file()).ok());
}

TEST_CASE("damage under a running store: absent, then a store that starts over") {
#ifdef __SANITIZE_THREAD__
  WARN("left out under TSan: it holds signals back, so a SIGBUS in the map cannot be turned into an answer");
  return;
#endif
  TempDir dir;
  make(dir.file());
  auto s = must_open(dir.file());
  const uint64_t id = *s->next_id();
  SECTION("found by a read of an inode") {
    REQUIRE(damage_pages(dir.file(), "name-1015") > 0);
    REQUIRE(must_get(*s, Table::kInode, id_key(1502)) == "(none)");
    REQUIRE(must_get(*s, Table::kDir, id_key(kRootIno)) == "(none)");
  }
  SECTION("found by a snapshot, which trusts no listing from then on") {
    const auto snapshot = s->snapshot();
    REQUIRE(snapshot->get(Table::kDir, id_key(kRootIno))->has_value());
    REQUIRE(damage_pages(dir.file(), "name-1015") > 0);
    REQUIRE_FALSE(snapshot->get(Table::kDirent, dirent_key(kRootIno, name_of(1500), false))->has_value());
    REQUIRE_FALSE(snapshot->get(Table::kDir, id_key(kRootIno))->has_value());
  }
  SECTION("found by a listing, which never ends early") {
    REQUIRE(damage_pages(dir.file(), "name-1015") > 0);
    uint64_t seen = 0;
    const auto count = [&](std::string_view, std::string_view) { return ++seen > 0; };
    REQUIRE(s->scan(Table::kDirent, "", be64(kRootIno), SIZE_MAX, count).is(Code::kCorrupt));
    REQUIRE(seen < kNames);
  }
  SECTION("found by a commit") {
    REQUIRE(damage_pages(dir.file(), "name-10") > 0);
    REQUIRE(s->apply_durable(one(Table::kInode, id_key(1502), inode_of(1500).encode())).ok());
  }
  SECTION("the file is cut short") {
    REQUIRE(::truncate(dir.file().c_str(), 6 * kPage) == 0);
    REQUIRE(must_get(*s, Table::kInode, id_key(1502)) == "(none)");
  }
  SECTION("headers of garbage, or none") {
    overwrite(dir.file(), 0, std::string(2 * kPage, '\x5a'));
    if (GENERATE(false, true)) REQUIRE(::truncate(dir.file().c_str(), 0) == 0);
    eventually([&] { return s->get(Table::kInode, id_key(1502)).ok(); });
  }
  SECTION("a record that does not decode") {
    const auto pages = pages_with(content(dir.file()), name_of(1500));
    for (size_t p : pages) {
      const size_t at = content(dir.file()).find(name_of(1500), p * kPage);
      overwrite(dir.file(), at - 1, std::string(1, '\x7f'));  // the name's length
    }
    REQUIRE(must_get(*s, Table::kInode, id_key(1502)) == "(none)");
  }
  REQUIRE(exists(dir.file() + ".damaged"));
  // Whole and empty from here on, but for the root and the numbers.
  eventually([&] {
    const StoreStats now = s->stats();
    return now.entries[static_cast<int>(Table::kDirent)] == 0 &&
           now.entries[static_cast<int>(Table::kInode)] - 1 <= 1;  // the root, the commit
  });
  const auto root = Inode::decode(must_get(*s, Table::kInode, id_key(kRootIno)));
  REQUIRE(root);
  REQUIRE(root->kind == Kind::kDirectory);
  REQUIRE(*s->next_id() > id);
  REQUIRE(s->apply_durable(records()).ok() == false);  // it holds an intent
  REQUIRE(s->get(Table::kJournal, be64(1)).is(Code::kCorrupt));
  REQUIRE(
      s->apply_durable(one(Table::kDirent, dirent_key(kRootIno, "a", false), Dirent{9, 1}.encode())).ok());
  use_everything(*s);
  check_listings(*s);
  s.reset();
  check_next_start_rebuilds(dir);
}

}  // namespace s3cache::meta
