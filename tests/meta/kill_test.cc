// A process that is killed while it applies batches leaves a prefix of whole batches, with all that was
// acknowledged.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "meta/records.h"
#include "test_util.h"

namespace s3cache::meta {
namespace {

// Batch n: one journal record of its own, three that it overwrites, one that it deletes.
Batch batch(uint64_t n) {
  Batch b;
  b.put(Table::kJournal, be64(n), be64(n));
  b.put(Table::kState, "last", be64(n));
  b.put(Table::kInode, id_key(n % 7), be64(n));
  b.put(Table::kDirent, dirent_key(1, "name", false), be64(n));
  b.put(Table::kTrash, be64(n), "");
  if (n > 1) b.erase(Table::kTrash, be64(n - 1));
  return b;
}

// Applies batches until killed and reports on `out` the number of each one known to be durable.
[[noreturn]] void child(const std::string& path, int out, uint64_t first) {
  Options o;
  o.path = path;
  o.initial_map_bytes = 256 << 10;
  auto s = MetaStore::open(o);
  if (!s.ok()) ::_exit(1);
  for (uint64_t n = first;; ++n) {
    if (n % 16 == 0) {
      if (!(*s)->apply_durable(batch(n)).ok() || ::write(out, &n, 8) != 8) ::_exit(1);
    } else if (n % 16 == 9) {
      (*s)->apply(batch(n), [n, out](Status st) {
        if (!st.ok() || ::write(out, &n, 8) != 8) ::_exit(1);
      });
    } else {
      (*s)->apply(batch(n));
    }
  }
}

uint64_t stored_last(MetaStore& s) {
  const auto v = s.get(Table::kState, "last");
  REQUIRE(v.ok());
  return *v ? read_be64(**v) : 0;
}

}  // namespace

TEST_CASE("a kill leaves whole batches in order") {
  const uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 rng(seed);
  const char* more = std::getenv("S3CACHE_TEST_ROUNDS");
  const int rounds = more != nullptr ? std::atoi(more) : 20;
  TempDir dir;
  uint64_t last = 0;
  for (int round = 0; round < rounds; ++round) {
    CAPTURE(round);
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    const pid_t pid = ::fork();
    if (pid == 0) child(dir.file(), fds[1], last + 1);
    ::close(fds[1]);
    // The kill comes some acknowledgements on and a random moment later; what was acknowledged by then
    // counts.
    uint64_t acknowledged = 0;
    for (uint64_t wanted = rng() % 30; wanted > 0; --wanted) REQUIRE(::read(fds[0], &acknowledged, 8) == 8);
    ::usleep(static_cast<useconds_t>(rng() % 3000));
    ::kill(pid, SIGKILL);
    uint64_t n;
    while (::read(fds[0], &n, 8) == 8) acknowledged = n;
    ::close(fds[0]);
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    REQUIRE(WIFSIGNALED(status));

    auto s = open_store(dir.file(), nullptr, 256 << 10);
    const uint64_t before = last;
    last = stored_last(*s);
    REQUIRE(last >= before);
    REQUIRE(last >= acknowledged);
    uint64_t next = 1;
    REQUIRE(s->scan(Table::kJournal, "", "", SIZE_MAX, [&](std::string_view k, std::string_view v) {
               REQUIRE(read_be64(k) == next);
               REQUIRE(read_be64(v) == next);
               ++next;
               return true;
             }).ok());
    REQUIRE(next == last + 1);
    if (last == 0) continue;
    REQUIRE(must_get(*s, Table::kDirent, dirent_key(1, "name", false)) == be64(last));
    REQUIRE(must_get(*s, Table::kInode, id_key(last % 7)) == be64(last));
    REQUIRE(s->stats().entries[static_cast<int>(Table::kTrash)] == 1);
    REQUIRE(must_get(*s, Table::kTrash, be64(last)) == "");
  }
  REQUIRE(last > 0);
}

}  // namespace s3cache::meta
