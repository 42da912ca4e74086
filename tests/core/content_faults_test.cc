// Content on its own, under a host that the test plays: every order of network and disk, step by step.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <deque>
#include <filesystem>

#include "base/bytes.h"
#include "core/content.h"
#include "core/core_fixture.h"
#include "meta/records.h"

namespace s3cache::core {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Disk jobs wait until the test runs them; each GET waits in `started`.
class Host : public ContentHost {
 public:
  struct Get {
    std::shared_ptr<Segment> segment;
    std::shared_ptr<s3::GetSink> sink;
  };
  bool start(const std::shared_ptr<Content>& content, const std::shared_ptr<Segment>& segment) override {
    std::vector<BufferPool::Unit> units;
    REQUIRE(pool.take_over_limit(segment->unit_count(), units));
    content->begin(segment, std::move(units));
    started.push_back({segment, content->make_sink(segment)});
    content->set_request(segment, ++last_id);
    return true;
  }
  bool keep(const std::shared_ptr<Content>&, int64_t) override {
    kept += keeps ? 1 : 0;
    return keeps;
  }
  void unkept(size_t units) override { kept -= units; }
  ObjectSource source_of(const Content& content) override { return {content.id().key, content.id().etag}; }
  void cancel(s3::RequestId) override {}
  void promote(s3::RequestId) override {}
  bool reserve(Content&, int64_t bytes) override {
    reserved += bytes;
    return true;
  }
  void unreserve(int64_t bytes) override { reserved -= bytes; }
  void stored(Content&, int64_t bytes) override {
    reserved -= bytes;
    used += bytes;
  }
  void post_disk(std::function<void()> job) override { jobs.push_back(std::move(job)); }
  void progressed(Content& content, bool full) override {
    if (full && content.claim_seal()) content.mark_sealed();
  }
  void ended() override {}
  void kept_in_ram(const std::shared_ptr<Content>&, int64_t) override {}
  void damaged(Content&) override {}
  void went_stale(Content&) override {}
  void closing(Content&) override {}
  void load_checksums(Content&) override {}

  bool run_job() {
    if (jobs.empty()) return false;
    auto job = std::move(jobs.front());
    jobs.pop_front();
    job();
    return true;
  }
  void run_jobs() {
    while (run_job()) {
    }
  }

  BufferPool pool{64 << 20};
  std::deque<std::function<void()>> jobs;
  std::deque<Get> started;  // a list that stays in place while answers start further ones
  int64_t reserved = 0, used = 0;
  bool keeps = false;
  size_t kept = 0;
  s3::RequestId last_id = 0;
};

struct Bench {
  explicit Bench(int64_t size_of_file) : size(size_of_file) {
    auto opened = cache::CacheDir::open({root.string(), "http://fake\nbucket\n", "bucket", 0, true});
    REQUIRE(opened.ok());
    dir = std::move(*opened);
    content = std::make_shared<Content>(host, ContentId{2, 1, "key", "etag", size, 0}, Attr{},
                                        std::make_unique<cache::CacheFile>(*dir, fds, 7, size, true), false,
                                        ReadaheadOptions{});
  }
  ~Bench() {
    host.jobs.clear();
    host.started.clear();
    content.reset();
    dir.reset();
    std::filesystem::remove_all(root);
  }

  void headers(const Host::Get& get) {
    s3::ObjectInfo info;
    info.size = size;
    info.etag = "etag";
    REQUIRE(get.sink->on_headers(info));
  }
  // `length` further bytes of the GET's body.
  void data(const Host::Get& get, int64_t length) {
    std::vector<std::byte> bytes(static_cast<size_t>(length));
    const int64_t at = get.segment->offset + get.segment->filled;
    for (int64_t i = 0; i < length; ++i) bytes[static_cast<size_t>(i)] = s3::FakeS3::pattern_byte(at + i);
    REQUIRE(get.sink->on_data(at, bytes));
  }
  void whole(const Host::Get& get) {
    headers(get);
    data(get, get.segment->length);
    get.sink->on_done({});
  }
  struct Answer {
    int count = 0;
    bool right = false;
  };
  void read(int64_t offset, size_t length, Answer& answer) {
    content->read(offset, length, [&answer, offset, length](Result<ReadReply> r) {
      ++answer.count;
      std::string bytes;
      if (r.ok())
        for (const iovec& io : *r) bytes.append(static_cast<const char*>(io.iov_base), io.iov_len);
      answer.right = bytes.size() == length && CoreFixture::is_pattern(bytes, offset);
    });
  }
  // The file's blocks, as the budget charges them.
  int64_t charged() const {
    return (content->cached_bytes() + cache::kPage - 1) / cache::kPage * cache::kPage;
  }

  const int64_t size;
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() /
      ("s3cache-content-test-" + std::to_string(getpid()) + "-" + std::to_string(CoreFixture::counter()++));
  std::unique_ptr<cache::CacheDir> dir;
  cache::FdCache fds{16};
  Host host;
  std::shared_ptr<Content> content;
};

}  // namespace

TEST_CASE("writes that fail, also behind the end of their transfer, give their reservation back once") {
  Bench b(3 * kMiB);
  b.content->fetch_all(nullptr, nullptr);
  REQUIRE(b.host.started.size() == 1);
  const auto get = b.host.started[0];
  b.headers(get);
  b.data(get, 3 * kMiB);
  REQUIRE(b.host.run_job());
  b.content->file()->set_registered();  // from here on its writes fail
  REQUIRE(b.host.run_job());
  get.sink->on_done({});
  b.host.run_jobs();
  CHECK(b.host.reserved == 0);
  CHECK(b.host.used == kMiB);
}

TEST_CASE("a segment in RAM may be taken back while some of its units wait for the disk") {
  Bench b(3 * kMiB);
  b.content->fetch_all(nullptr, nullptr);
  const auto get = b.host.started[0];
  b.headers(get);
  b.data(get, 3 * kMiB);
  b.content->file()->set_registered();
  REQUIRE(b.host.run_job());
  get.sink->on_done({});
  REQUIRE(b.content->drop_ram(0) == Content::Drop::kDropped);
  Bench::Answer answer;
  b.read(0, 4096, answer);
  REQUIRE(b.host.started.size() == 2);
  b.host.run_jobs();
  CHECK(b.host.reserved == b.host.started[1].segment->reserved);
  b.whole(b.host.started[1]);
  CHECK(answer.count == 1);
  CHECK(answer.right);
}

TEST_CASE("pages of a transfer that failed and came again count once") {
  Bench b(3 * kMiB + 100);
  SECTION("cut in the middle") {
    b.content->fetch_all(nullptr, nullptr);
    b.headers(b.host.started[0]);
    b.data(b.host.started[0], 2 * kMiB + 5000);
    b.host.started[0].sink->on_done(Error{Code::kUnavailable, "cut"});
  }
  SECTION("cancelled behind the last byte") {
    b.content->fetch_all(nullptr, nullptr);
    b.headers(b.host.started[0]);
    b.data(b.host.started[0], b.size);
    b.host.started[0].sink->on_done(Error{Code::kCancelled, "late"});
  }
  int finished = 0;
  b.content->fetch_all(nullptr, [&](Status s) { finished += s.ok() ? 1 : 100; });
  for (size_t i = 1; i < b.host.started.size(); ++i) b.whole(b.host.started[i]);
  b.host.run_jobs();
  CHECK(finished == 1);
  CHECK(b.content->cached_bytes() == b.size);
  CHECK(b.host.reserved >= 0);
  CHECK(b.host.reserved < cache::kPage);  // charge() rounds: the host of the test does not
  CHECK(b.host.used == b.size);
}

TEST_CASE("what the cache file loses under a segment half in RAM is asked for again") {
  Bench b(2 * kMiB);
  b.content->fetch_all(nullptr, nullptr);
  const auto get = b.host.started[0];
  b.headers(get);
  b.data(get, 2 * kMiB);
  REQUIRE(b.host.run_job());
  std::filesystem::remove(b.dir->file_path(7));
  b.fds.forget(7);
  get.sink->on_done({});
  b.host.run_jobs();
  Bench::Answer answer;
  b.read(4096, 4096, answer);
  REQUIRE(b.host.started.size() == 2);
  b.whole(b.host.started[1]);
  CHECK(answer.count == 1);
  CHECK(answer.right);
}

TEST_CASE("a reader of bytes that are lost while it waits for others gets them all the same") {
  Bench b(8 * kMiB);
  Bench::Answer first, both;
  b.read(4 * kMiB, 128 << 10, first);
  b.whole(b.host.started[0]);
  b.host.run_jobs();
  REQUIRE(first.right);
  const int64_t at = 4 * kMiB + (64 << 10);
  b.read(at, 128 << 10, both);
  const size_t second = b.host.started.size() - 1;
  REQUIRE(both.count == 0);
  b.content->file()->clear(4 * kMiB, 128 << 10);  // as for a block that fails its checksum
  for (size_t i = 1; i < b.host.started.size(); ++i) b.whole(b.host.started[i]);
  CHECK(b.host.started.size() > second + 1);
  CHECK(both.count == 1);
  CHECK(both.right);
}

TEST_CASE("an open whose bytes are lost again on their way is answered") {
  Bench b(2 * kMiB);
  int finished = 0;
  b.content->fetch_all(nullptr, [&](Status) { ++finished; });
  const auto get = b.host.started[0];
  b.headers(get);
  b.data(get, 2 * kMiB);
  REQUIRE(b.host.run_job());
  std::filesystem::remove(b.dir->file_path(7));
  b.fds.forget(7);
  get.sink->on_done({});
  b.host.run_jobs();
  for (size_t i = 1; i < b.host.started.size(); ++i) b.whole(b.host.started[i]);
  b.host.run_jobs();
  CHECK(finished == 1);
}

TEST_CASE("a complete file whose seal was never recorded is sealed when it is opened") {
  CoreFixture f;
  f.put_pattern("a", 100'000);
  REQUIRE(f.open("a").ok());
  f.unmount();
  auto opened = cache::CacheDir::open({f.root.string(), "http://fake\nbucket\n", "bucket", 0, true});
  REQUIRE(opened.ok());
  meta::Options store_options;
  store_options.path = (*opened)->store_path();
  {
    auto store = meta::MetaStore::open(store_options);
    REQUIRE(store.ok());
    std::string id, record;
    REQUIRE((*store)
                ->scan(meta::Table::kFile, "", "", 1,
                       [&](std::string_view k, std::string_view v) {
                         id = k;
                         record = v;
                         return true;
                       })
                .ok());
    auto file = meta::File::decode(record);
    REQUIRE(file);
    file->state = meta::FileState::kPartial;
    file->registered = false;
    meta::Batch batch;
    batch.put(meta::Table::kFile, id, file->encode());
    std::string bits(1024, '\0');
    for (int page = 0; page < 25; ++page)
      bits[static_cast<size_t>(page / 8)] |= static_cast<char>(1 << page % 8);
    batch.put(meta::Table::kMap, meta::chunk_key(read_be64(id), 0), meta::encode_bitmap(bits));
    REQUIRE((*store)->apply_durable(std::move(batch)).ok());
  }
  opened->reset();
  f.fresh_server();
  f.mount();
  auto file = f.open("a");
  REQUIRE(file.ok());
  CHECK((*file)->sealed());
  CHECK(f.s3->count(s3::Verb::kGet) == 0);
}

TEST_CASE("Units fetched ahead of a stream stay in memory until its reader has passed") {
  Bench b(64 * kMiB);
  b.host.keeps = true;
  b.content->add_handle();
  std::deque<Bench::Answer> answers;
  int64_t at = 0;
  const auto read_next = [&] {
    b.read(at, kMiB, answers.emplace_back());
    at += kMiB;
  };
  size_t served = 0;
  const auto serve_all = [&] {
    for (; served < b.host.started.size(); ++served) b.whole(b.host.started[served]);
    b.host.run_jobs();
  };
  for (int i = 0; i < 4; ++i) {
    read_next();
    serve_all();
  }
  REQUIRE(b.host.kept > 0);
  const size_t before = b.host.kept;
  const size_t in_use = b.host.pool.in_use();
  REQUIRE(in_use == before);
  // What the disk holds does not matter to who reads behind.
  const std::string path = b.dir->file_path(7);
  const size_t asked = b.host.started.size();
  std::filesystem::resize_file(path, 0);
  std::filesystem::resize_file(path, static_cast<uintmax_t>(b.size));
  read_next();
  REQUIRE(answers.back().count == 1);
  REQUIRE(answers.back().right);
  REQUIRE(b.host.kept < before + b.host.started.size() - asked);

  SECTION("a unit that was read through comes from the disk, with its checksum, the next time") {
    b.read(at - kMiB, kMiB, answers.emplace_back());
    REQUIRE(answers.back().count == 0);  // found bad, asked again
    serve_all();
    REQUIRE(answers.back().right);
  }
  SECTION("given up on demand, it is read from the disk") {
    serve_all();
    const size_t kept = b.host.kept;
    size_t dropped = 0;
    for (int64_t unit = 0; unit < b.size; unit += kMiB) dropped += b.content->drop_kept(unit) ? 1 : 0;
    REQUIRE(dropped == kept);
    REQUIRE(b.host.kept == 0);
    REQUIRE(b.host.pool.in_use() == 0);
  }
  SECTION("the last handle takes them along") {
    serve_all();
    b.content->drop_handle();
    REQUIRE(b.host.kept == 0);
    REQUIRE(b.host.pool.in_use() == 0);
  }
  for (const auto& answer : answers) REQUIRE((answer.count == 1 && answer.right));
}

}  // namespace s3cache::core
