#include <dirent.h>
#include <sys/stat.h>

#include <random>
#include <thread>

#include "namespace_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
using s3::Verb;

namespace {

struct Tree : NamespaceFixture {
  explicit Tree(int n, NamespaceOptions o = {}) : NamespaceFixture(o) {
    for (int i = 0; i < n; i++) put("d/" + std::to_string(10'000 + i));
    d = ino_of("d");
    for (const auto& [name, l] : list(d)) all.push_back(name);
    REQUIRE(all.size() == static_cast<size_t>(n));
    requests();
  }
  uint64_t d = 0;
  std::vector<std::string> all;
};

}  // namespace

TEST_CASE("A stat walk: the second name in a row without an open turns to parallel HEADs of the siblings") {
  Tree f(500);
  CHECK(f.lookup(f.d, f.all[0])->found);
  CHECK(f.requests() == Count{0, 0, 1});
  f.s3.set_manual(true);
  auto second = f.start_lookup(f.d, f.all[1]);
  REQUIRE(f.s3.wait_pending(static_cast<size_t>(f.options.max_parallel_heads) + 1));
  const auto pending = f.s3.pending();
  CHECK(pending.size() == static_cast<size_t>(f.options.max_parallel_heads) + 1);
  for (const auto& r : pending) CHECK(r.verb == Verb::kHead);
  CHECK(pending[0].key == "d/" + f.all[1]);
  CHECK(pending[0].priority == s3::Priority::kForeground);
  for (size_t i = 1; i < pending.size(); i++) {
    CHECK(pending[i].key == "d/" + f.all[i + 1]);  // from this name forward
    CHECK(pending[i].priority == s3::Priority::kBackground);
  }
  f.s3.set_manual(false);
  CHECK(f.await(std::move(second))->found);
  for (const auto& name : f.all) CHECK(f.lookup(f.d, name)->found);
  CHECK(f.requests() == Count{0, 499, 0});
}

TEST_CASE("A walk over 5,000 names asks each once, in any order") {
  Tree f(5'000);
  const uint32_t seed = std::random_device()();
  INFO("seed " << seed);
  const bool shuffled = GENERATE(false, true);
  if (shuffled) std::shuffle(f.all.begin(), f.all.end(), std::mt19937(seed));
  for (const auto& name : f.all) REQUIRE(f.lookup(f.d, name)->found);
  const auto c = f.requests();
  CHECK(c.list == 0);
  CHECK(c.get == 1);
  CHECK(c.head == 4'999);
}

TEST_CASE("A walk that was abandoned stops soon") {
  Tree f(2'000);
  for (int i = 0; i < 3; i++) CHECK(f.lookup(f.d, f.all[static_cast<size_t>(i)])->found);
  CHECK(f.requests().head <= 256 + 3 * 16 + 2);
}

TEST_CASE("Four readers that open what they look up never look like a walk") {
  Tree f(400);
  const uint32_t seed = std::random_device()();
  INFO("seed " << seed);
  std::shuffle(f.all.begin(), f.all.end(), std::mt19937(seed));
  std::vector<std::thread> readers;
  std::atomic<int> bad{0};
  for (uint32_t tid = 1; tid <= 4; tid++) {
    readers.emplace_back([&, tid] {
      for (size_t i = tid - 1; i < f.all.size(); i += 4) {
        const auto reply = f.start_lookup(f.d, f.all[i], tid).get();
        if (!reply.ok() || !reply->found) {
          bad++;
        } else {
          f.names->opened({tid}, reply->entry.attr.ino);
        }
      }
    });
  }
  for (auto& reader : readers) reader.join();
  CHECK(bad == 0);
  CHECK(f.requests() == Count{0, 0, 400});
}

TEST_CASE("A GETATTR of the same name is no walk; an OPEN ends one") {
  Tree f(50);
  const auto first = f.lookup(f.d, f.all[0]);
  CHECK(f.getattr(first->entry.attr.ino).ok());
  f.names->opened({1}, first->entry.attr.ino);
  CHECK(f.lookup(f.d, f.all[1])->found);
  CHECK(f.requests() == Count{0, 0, 2});
  const auto third = f.lookup(f.d, f.all[2]);  // the second was not opened
  CHECK(f.requests() == Count{0, 48, 0});
  f.names->opened({1}, third->entry.attr.ino);
  f.put("d/new");
  const auto added = f.lookup(f.d, "new");
  CHECK_FALSE(added->found);  // the directory is complete
  f.pass_ttl();
  f.list(f.d);
  f.requests();
  CHECK(f.lookup(f.d, "new")->found);
  CHECK(f.requests() == Count{0, 0, 1});
}

TEST_CASE("A background HEAD that somebody waits for is promoted, not repeated") {
  Tree f(100);
  CHECK(f.lookup(f.d, f.all[0])->found);
  REQUIRE(f.s3.wait_idle());  // the GET's body, too
  f.s3.set_manual(true);
  auto second = f.start_lookup(f.d, f.all[1]);
  REQUIRE(f.s3.wait_pending(65));
  auto later = f.start_lookup(f.d, f.all[40]);
  CHECK(f.s3.pending().size() == 65);
  f.s3.set_manual(false);
  CHECK(f.await(std::move(second))->found);
  CHECK(f.await(std::move(later))->found);
  CHECK(f.requests() == Count{0, 99, 1});
}

TEST_CASE("Directories in a walk cost a HEAD each, and implicit ones never again") {
  NamespaceFixture f;
  for (int i = 0; i < 20; i++) f.put("d/s" + std::to_string(i) + "/x");
  f.put("d/a");
  f.put("d/b");
  const uint64_t d = f.ino_of("d");
  const auto listed = f.list(d);
  f.requests();
  for (const auto& [name, l] : listed) CHECK(f.lookup(d, name)->found);
  CHECK(f.requests() == Count{0, 21, 1});
  f.pass_ttl();
  f.list(d);
  f.requests();
  for (const auto& [name, l] : listed) CHECK(f.lookup(d, name)->found);
  CHECK(f.requests() == Count{0, 0, 0});
}

namespace {

// A bucket that changes at random while time passes; what the mount says is compared with what it may say.
struct Model {
  explicit Model(uint32_t seed) : random(seed), f(options()) { f.s3.set_page_size(1 + pick(5)); }

  NamespaceOptions options() {
    NamespaceOptions o;
    o.attr = pick(2) == 0 ? AttrMode::kHead : AttrMode::kList;
    o.ttl_ms = 10'000;
    return o;
  }
  int pick(int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); }

  void change(const std::string& key) {
    if (pick(2) == 0) {
      bucket.erase(key);
      f.s3.erase(key);
      return;
    }
    serial++;
    bucket[key] = std::string(static_cast<size_t>(serial % 50 + 1), 'x') + std::to_string(serial);
    f.put(key, bucket[key]);
  }

  // The root as it is: name -> is a directory. A file hides the directory beside it.
  std::map<std::string, bool> root() const {
    std::map<std::string, bool> want;
    for (const auto& [k, data] : bucket) {
      const size_t slash = k.find('/');
      if (slash == std::string::npos)
        want[k] = false;
      else
        want.emplace(k.substr(0, slash), true);
    }
    return want;
  }

  void check_listing() {
    std::vector<std::string> shown, wanted;
    for (const auto& [name, l] : f.list(f.kRoot, static_cast<size_t>(1 + pick(4))))
      shown.push_back(name + (l.d_type == DT_DIR ? "/" : ""));
    for (const auto& [name, directory] : root()) wanted.push_back(name + (directory ? "/" : ""));
    REQUIRE(shown == wanted);
  }

  void check_lookup(const std::string& top) {
    const auto want = root();
    const auto reply = f.lookup(f.kRoot, top, static_cast<uint32_t>(1 + pick(3)));
    REQUIRE(reply.ok());
    INFO("name " << top);
    REQUIRE(reply->found == want.contains(top));
    if (!reply->found) return;
    const bool directory = want.at(top);
    // A file that appears beside a known directory is seen by the next listing, not by a lookup.
    if (!directory && S_ISDIR(reply->entry.attr.mode)) {
      const auto inside = bucket.lower_bound(top + "/");
      REQUIRE((inside != bucket.end() && inside->first.starts_with(top + "/")));
      return;
    }
    REQUIRE(S_ISDIR(reply->entry.attr.mode) == directory);
    if (directory) return check_inside(top, reply->entry.attr.ino);
    REQUIRE(reply->entry.attr.size == static_cast<int64_t>(bucket[top].size()));
    if (pick(2) == 0) f.names->opened({1}, reply->entry.attr.ino);
  }

  void check_inside(const std::string& top, uint64_t ino) {
    std::set<std::string> inside, listed;
    for (const auto& [k, data] : bucket)
      if (k.starts_with(top + "/")) inside.insert(k.substr(top.size() + 1));
    for (const auto& [name, l] : f.list(ino)) listed.insert(name);
    // The page that told of the directory's object may be a moment old, but not older than this lookup.
    REQUIRE(listed == inside);
  }

  std::mt19937 random;
  NamespaceFixture f;
  std::map<std::string, std::string> bucket;  // key -> data
  int serial = 0;
};

}  // namespace

// Inside the TTL any state of the last TTL would be right; past it there is one right answer, and that is
// checked.
TEST_CASE("Random changes, lookups and listings agree with a model", "[model]") {
  const uint32_t seed = getenv("S3CACHE_SEED") != nullptr
                            ? static_cast<uint32_t>(atoi(getenv("S3CACHE_SEED")))
                            : std::random_device()();
  INFO("seed " << seed);
  Model m(seed);
  const std::vector<std::string> names{"a", "a-", "a.b", "a0", "b", "c", "d"};
  for (int step = 0; step < 1500; step++) {
    const std::string top = names[static_cast<size_t>(m.pick(7))],
                      leaf = names[static_cast<size_t>(m.pick(7))];
    const int what = m.pick(6);
    INFO("step " << step);
    if (what < 2) {
      m.change(m.pick(3) == 0 ? top : top + "/" + leaf);
    } else if (what == 2) {
      if (m.pick(20) == 0) m.f.remount();
      m.f.clock.advance_ms(m.pick(4000));
    } else if (m.pick(2) == 0) {
      m.f.pass_ttl();
      m.pick(2) == 0 ? m.check_listing() : m.check_lookup(top);
    }
  }
}
