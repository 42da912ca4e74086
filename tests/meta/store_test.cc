#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <set>

#include "meta/records.h"
#include "test_util.h"

namespace s3cache::meta {
namespace {

std::string all(MetaStore& s, Table t, std::string_view from, std::string_view prefix, size_t limit = 1000) {
  std::string out;
  const Status st = s.scan(t, from, prefix, limit, [&](std::string_view k, std::string_view v) {
    out += std::string(k) + "=" + std::string(v) + " ";
    return true;
  });
  REQUIRE(st.ok());
  return out;
}

}  // namespace

TEST_CASE("what is applied is seen at once, on the disk after flush, and after a remount") {
  TempDir dir;
  {
    auto s = open_store(dir.file());
    s->apply(one(Table::kState, "a", "1"));
    REQUIRE(must_get(*s, Table::kState, "a") == "1");
    Batch b;
    b.put(Table::kState, "a", "2");
    b.put(Table::kInode, "a", "other table");
    b.erase(Table::kState, "a");
    b.put(Table::kState, "b", "");
    s->apply(std::move(b));
    REQUIRE(must_get(*s, Table::kState, "a") == "(none)");
    REQUIRE(s->flush().ok());
    REQUIRE(s->stats().overlay_ops == 0);
    REQUIRE(s->stats().commits >= 1);
    REQUIRE(must_get(*s, Table::kState, "a") == "(none)");
    REQUIRE(must_get(*s, Table::kState, "b") == "");
    s->apply(one(Table::kTrash, "left to the destructor", "x"));
  }
  auto s = open_store(dir.file());
  REQUIRE(must_get(*s, Table::kInode, "a") == "other table");
  REQUIRE(must_get(*s, Table::kTrash, "left to the destructor") == "x");
  REQUIRE(s->stats().entries[static_cast<int>(Table::kInode)] == 1);
  REQUIRE(s->stats().file_bytes > 0);
}

TEST_CASE("scan merges the overlay with what is stored") {
  TempDir dir;
  auto s = open_store(dir.file());
  Batch b;
  for (const char* k : {"p1", "p3", "p5", "p7", "q1"}) b.put(Table::kExt, k, "old");
  REQUIRE(s->apply_durable(std::move(b)).ok());
  Batch c;
  c.put(Table::kExt, "p0", "new");
  c.put(Table::kExt, "p3", "new");
  c.erase(Table::kExt, "p5");
  c.put(Table::kExt, "p8", "new");
  c.erase(Table::kExt, "p9");
  s->apply(std::move(c));
  for (int round = 0; round < 2; ++round) {  // the second time from the disk alone
    REQUIRE(all(*s, Table::kExt, "", "p") == "p0=new p1=old p3=new p7=old p8=new ");
    REQUIRE(all(*s, Table::kExt, "p3", "p") == "p3=new p7=old p8=new ");
    REQUIRE(all(*s, Table::kExt, "p2", "p", 2) == "p3=new p7=old ");
    REQUIRE(all(*s, Table::kExt, "", "p", 0) == "");
    REQUIRE(all(*s, Table::kExt, "q", "p") == "");
    REQUIRE(all(*s, Table::kExt, "", "") == "p0=new p1=old p3=new p7=old p8=new q1=old ");
    int seen = 0;
    REQUIRE(s->scan(Table::kExt, "", "", 100, [&](auto, auto) { return ++seen < 2; }).ok());
    REQUIRE(seen == 2);
    REQUIRE(s->flush().ok());
  }
}

TEST_CASE("a snapshot stays at its moment") {
  TempDir dir;
  auto s = open_store(dir.file());
  REQUIRE(s->apply_durable(one(Table::kDir, "k", "0")).ok());
  s->apply(one(Table::kDir, "k", "1"));
  auto first = s->snapshot();
  s->apply(one(Table::kDir, "k", "2"));
  s->apply(one(Table::kDir, "later", "x"));
  auto second = s->snapshot();
  Batch gone;
  gone.erase(Table::kDir, "k");
  s->apply(std::move(gone));
  for (int round = 0; round < 2; ++round) {
    REQUIRE(first->get(Table::kDir, "k")->value() == "1");
    REQUIRE_FALSE(first->get(Table::kDir, "later")->has_value());
    REQUIRE(second->get(Table::kDir, "k")->value() == "2");
    REQUIRE(second->get(Table::kDir, "later")->value() == "x");
    size_t n = 0;
    REQUIRE(first
                ->scan(Table::kDir, "", "", 10,
                       [&](auto k, auto v) {
                         REQUIRE(k == "k");
                         REQUIRE(v == "1");
                         return ++n > 0;
                       })
                .ok());
    REQUIRE(n == 1);
    REQUIRE(must_get(*s, Table::kDir, "k") == "(none)");
    REQUIRE(s->flush().ok());
  }
}

TEST_CASE("callbacks come in order, on the writer thread, and may apply") {
  TempDir dir;
  auto s = open_store(dir.file());
  std::vector<int> order;  // the writer thread's until the flush
  std::promise<Status> nested_wait;
  for (int i = 0; i < 20; ++i) {
    s->apply(one(Table::kState, "n" + std::to_string(i), "x"), [&, i](Status st) {
      order.push_back(st.ok() ? i : -1);
      if (i == 5) s->apply(one(Table::kState, "from a callback", "y"));
      if (i == 6) nested_wait.set_value(s->flush());
    });
  }
  REQUIRE(s->flush().ok());
  REQUIRE(order.size() == 20);
  REQUIRE(std::is_sorted(order.begin(), order.end()));
  REQUIRE(nested_wait.get_future().get().is(Code::kInvalid));
  REQUIRE(must_get(*s, Table::kState, "from a callback") == "y");
}

TEST_CASE("keys LMDB cannot hold are refused, not fatal") {
  TempDir dir;
  auto s = open_store(dir.file());
  REQUIRE(s->apply_durable(one(Table::kState, "", "x")).is(Code::kInvalid));
  REQUIRE(s->apply_durable(one(Table::kState, std::string(512, 'k'), "x")).is(Code::kInvalid));
  s->apply(one(Table::kState, "", "x"));
  REQUIRE(s->apply_durable(one(Table::kState, std::string(511, 'k'), "x")).ok());
  REQUIRE(must_get(*s, Table::kState, std::string(512, 'k')) == "(none)");
  REQUIRE(must_get(*s, Table::kState, "") == "(none)");
  REQUIRE(all(*s, Table::kState, std::string(600, 'z'), "") == "");
}

TEST_CASE("values larger than a page survive") {
  TempDir dir;
  auto s = open_store(dir.file());
  REQUIRE(s->apply_durable(one(Table::kState, "big", std::string(100'000, 'v'))).ok());
  REQUIRE(must_get(*s, Table::kState, "big").size() == 100'000);
}

TEST_CASE("one process opens a store once") {
  TempDir dir;
  auto s = open_store(dir.file());
  Options o;
  o.path = dir.path() + "/./meta.mdb";
  REQUIRE(MetaStore::open(o).is(Code::kBusy));
  s.reset();
  REQUIRE(MetaStore::open(o).ok());
}

TEST_CASE("apply waits while 64 MiB are pending, and everything arrives") {
  TempDir dir;
  auto s = open_store(dir.file());
  uint64_t most = 0;
  for (uint32_t i = 0; i < 100; ++i) {
    Batch b;
    for (uint32_t j = 0; j < 64; ++j) b.put(Table::kMap, chunk_key(i, j), std::string(16'000, 'm'));
    s->apply(std::move(b));
    most = std::max(most, s->stats().overlay_ops);
  }
  REQUIRE(most <= (64 << 20) / 16'000 + 2 * 64);
  REQUIRE(s->flush().ok());
  REQUIRE(s->stats().entries[static_cast<int>(Table::kMap)] == 6400);
}

TEST_CASE("a batch nobody waits for is on the disk soon") {
  TempDir dir;
  auto s = open_store(dir.file());
  s->apply(one(Table::kState, "a", "1"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (s->stats().commits == 0) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
}

TEST_CASE("numbers are never given twice, also after a kill") {
  TempDir dir;
  std::set<uint64_t> seen;
  for (int round = 0; round < 4; ++round) {
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      Options o;
      o.path = dir.file();
      auto s = MetaStore::open(o);
      if (!s.ok()) ::_exit(1);
      for (int i = 0; i < 700; ++i) {
        const auto id = (*s)->next_id();
        if (!id.ok() || ::write(fds[1], &*id, 8) != 8) ::_exit(1);
      }
      ::_exit(0);  // nothing closed, nothing flushed
    }
    ::close(fds[1]);
    uint64_t id;
    size_t n = 0;
    while (::read(fds[0], &id, 8) == 8) {
      REQUIRE(id >= 2);
      REQUIRE(seen.insert(id).second);
      ++n;
    }
    ::close(fds[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    REQUIRE(n == 700);
  }
  REQUIRE(*seen.begin() == 2);
  REQUIRE(*seen.rbegin() < 4 * 3 * 1024);  // blocks are not wasted by the dozen
}

TEST_CASE("numbers from many threads differ") {
  TempDir dir;
  auto s = open_store(dir.file());
  std::vector<std::vector<uint64_t>> got(4);
  std::vector<std::thread> threads;
  for (auto& mine : got) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) mine.push_back(s->next_id().value());
    });
  }
  for (auto& t : threads) t.join();
  std::set<uint64_t> seen;
  for (const auto& mine : got) seen.insert(mine.begin(), mine.end());
  REQUIRE(seen.size() == 4 * 3000);
}

}  // namespace s3cache::meta
