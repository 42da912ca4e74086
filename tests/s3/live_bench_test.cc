// Throughput against a real server, hidden: S3_URL=http://127.0.0.1:PORT S3_BUCKET= S3_KEY_ID= S3_SECRET=
// S3_OBJECT= test_s3 '[live]'. Prints MB/s and this process's CPU seconds a GiB; THREADS, BUFFER (KiB),
// RANGES, RANGE_MIB vary it.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "base/crc32c.h"
#include "live_fixture.h"
#include "s3/bucket_check.h"
#include "s3/xml.h"
#include "write_calls.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

double cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto s = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return s(u.ru_utime) + s(u.ru_stime);
}

// Copies into a part buffer, as the fetcher does.
class PartSink : public GetSink {
 public:
  PartSink(size_t n, std::function<void(Status)> done) : buffer_(n), done_(std::move(done)) {}
  bool on_headers(const ObjectInfo&) override { return true; }
  bool on_data(int64_t offset, std::span<const std::byte> data) override {
    if (first_ < 0) first_ = offset;
    std::copy(data.begin(), data.end(), buffer_.begin() + (offset - first_));
    return true;
  }
  void on_done(Status s) override { done_(std::move(s)); }

 private:
  std::vector<std::byte> buffer_;
  const std::function<void(Status)> done_;
  int64_t first_ = -1;
};

}  // namespace

TEST_CASE("a large object in parallel ranges", "[.live]") {
  auto client = make_client(live_options());
  const auto info = head(*client, env("S3_OBJECT"));
  REQUIRE(info.ok());
  const int64_t range = std::atol(env("RANGE_MIB", "8").c_str()) << 20;
  const int ranges = std::atoi(env("RANGES", "12").c_str());
  Mutex mu;
  CondVar cv;
  int running = 0;
  Status failed;
  const double cpu = cpu_seconds();
  const auto t0 = std::chrono::steady_clock::now();
  for (int64_t at = 0; at < info->size; at += range) {
    {
      MutexLock l(mu);
      while (running >= ranges) cv.wait(mu);
      ++running;
    }
    client->get({.key = env("S3_OBJECT"), .offset = at, .length = range, .if_match = info->etag},
                std::make_shared<PartSink>(range, [&](Status s) {
                  MutexLock l(mu);
                  if (!s.ok()) failed = s;
                  --running;
                  cv.notify_all();
                }));
  }
  {
    MutexLock l(mu);
    while (running > 0) cv.wait(mu);
  }
  const std::chrono::duration<double> d = std::chrono::steady_clock::now() - t0;
  REQUIRE(failed.ok());
  const double bytes = static_cast<double>(info->size);
  WARN(bytes / d.count() / 1e6 << " MB/s, " << (cpu_seconds() - cpu) / (bytes / (1 << 30)) << " CPU s/GiB");
}

TEST_CASE("a large upload in parallel parts", "[.live_upload]") {
  auto client = make_client(live_options());
  const int64_t part = std::atol(env("RANGE_MIB", "16").c_str()) << 20;
  const int64_t parts = (std::atol(env("SIZE_MIB", "1024").c_str()) << 20) / part;
  const int in_flight = std::atoi(env("RANGES", "8").c_str());
  const bool checksum = env("CHECKSUM", "1") == "1";
  const auto id = create_upload(*client, {.key = "upload", .crc32c = checksum});
  REQUIRE(id.ok());
  const auto body = string_body(std::string(static_cast<size_t>(part), 'x'));
  const std::string hash = env("SHA") == "1" ? *sha256_hex(*body) : "UNSIGNED-PAYLOAD";
  Mutex mu;
  CondVar cv;
  int running = 0;
  CompleteRequest whole{.key = "upload", .upload_id = *id};
  whole.parts.resize(static_cast<size_t>(parts));
  const double cpu = cpu_seconds();
  const auto t0 = std::chrono::steady_clock::now();
  for (int n = 1; n <= parts; ++n) {
    {
      MutexLock l(mu);
      while (running >= in_flight) cv.wait(mu);
      ++running;
    }
    PartRequest r{.key = "upload", .upload_id = *id, .number = n, .body = body, .sha256_hex = hash};
    if (checksum)
      r.crc32c = crc32c(0, std::string(static_cast<size_t>(part), 'x').data(), static_cast<size_t>(part));
    client->upload_part(std::move(r), [&, n](Result<Written> w) {
      MutexLock l(mu);
      if (w.ok()) whole.parts[static_cast<size_t>(n - 1)] = {n, w->etag, w->crc32c};
      --running;
      cv.notify_all();
    });
  }
  {
    MutexLock l(mu);
    while (running > 0) cv.wait(mu);
  }
  const std::chrono::duration<double> sent = std::chrono::steady_clock::now() - t0;
  const auto w = complete_upload(*client, whole);
  const std::chrono::duration<double> d = std::chrono::steady_clock::now() - t0;
  INFO((w.ok() ? "" : w.error().message));
  REQUIRE(w.ok());
  const double bytes = static_cast<double>(parts * part);
  WARN(bytes / d.count() / 1e6 << " MB/s (" << bytes / sent.count() / 1e6 << " before Complete), "
                               << (cpu_seconds() - cpu) / (bytes / (1 << 30)) << " CPU s/GiB");
  CHECK(remove(*client, {"upload", ""}).ok());
}

TEST_CASE("odd keys survive a listing and a GET", "[.live]") {
  auto client = make_client(live_options());
  const auto check = check_bucket(*client, "");
  INFO((check.status.ok() ? "" : check.status.error().message));
  REQUIRE(check.status.ok());
  const auto page = list(*client, {.prefix = "odd/"});
  REQUIRE(page.ok());
  for (const auto& o : page->objects) {
    const Got got = get(*client, {.key = o.key, .if_match = o.etag});
    INFO(o.key);
    CHECK(got.status.ok());
    CHECK(static_cast<int64_t>(got.text.size()) == o.size);
    CHECK(got.info.last_modified == o.last_modified);
    WARN(o.key << " " << o.etag);
  }
}

TEST_CASE("parsing a page of 1,000 objects", "[.live]") {
  std::string text = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";
  for (int i = 0; i < 1000; ++i)
    text += "<Contents><Key>train/images/shard-0001/" + std::to_string(i) +
            ".jpg</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;"
            "fba9dede5f27731c9771645a39863328&quot;</ETag><Size>123456</Size><StorageClass>STANDARD</"
            "StorageClass></Contents>";
  text += "</ListBucketResult>";
  const double cpu = cpu_seconds();
  for (int i = 0; i < 100; ++i) REQUIRE(parse_list_xml(text)->page.objects.size() == 1000);
  WARN((cpu_seconds() - cpu) * 10 << " ms a page");
}
