#include "s3/fake_s3.h"

#include <catch2/catch.hpp>
#include <future>

#include "collect.h"
#include "s3/faulty_s3.h"

using namespace s3cache;
using namespace s3cache::s3;

TEST_CASE("FakeS3 serves objects, ranges and conditions") {
  FakeS3 s3;
  const std::string etag = s3.put("a", "0123456789", {{"content-type", "x/y"}});
  CHECK(get(s3, {.key = "a"}).text == "0123456789");
  const Got part = get(s3, {.key = "a", .offset = 3, .length = 4, .if_match = etag});
  CHECK(part.text == "3456");
  CHECK(part.info.size == 10);
  CHECK(part.info.etag == etag);
  REQUIRE(part.info.header("content-type") != nullptr);
  CHECK(get(s3, {.key = "a", .offset = 8, .length = 100}).text == "89");
  CHECK(get(s3, {.key = "b"}).status.is(Code::kNotFound));
  CHECK(get(s3, {.key = "a", .offset = 10}).status.is(Code::kInvalid));
  CHECK(get(s3, {.key = "a", .if_match = "other"}).status.is(Code::kStale));
  CHECK(head(s3, "a")->size == 10);
  CHECK(s3.count(Verb::kGet) == 6);
  CHECK(s3.count(Verb::kHead) == 1);
}

TEST_CASE("FakeS3 groups, orders and pages a listing") {
  FakeS3 s3;
  for (const char* k : {"d/a", "d/b/1", "d/b/2", "d/b-1", "d/b.x", "d/b0", "e"}) s3.put(k, k);
  s3.set_page_size(2);
  std::vector<std::string> names;
  ListRequest r{.prefix = "d/"};
  for (;;) {
    const auto page = list(s3, r);
    REQUIRE(page.ok());
    for (const auto& o : page->objects) names.push_back(o.key);
    for (const auto& p : page->prefixes) names.push_back(p);
    if (!page->truncated) break;
    r.continuation = page->next_token;
  }
  CHECK(names == std::vector<std::string>{"d/a", "d/b-1", "d/b.x", "d/b/", "d/b0"});
  CHECK(s3.count(Verb::kList) == 3);
  const auto flat = list(s3, {.prefix = "d/b", .delimiter = false, .start_after = "d/b/1", .max_keys = 1000});
  CHECK(flat->objects.size() == 2);
  s3.set_page_size(1000);
  s3.set_out_of_order(true);
  const auto odd = list(s3, {.prefix = "", .delimiter = false});
  CHECK(odd->objects.size() == 7);
  CHECK_FALSE(std::is_sorted(odd->objects.begin(), odd->objects.end(),
                             [](const auto& a, const auto& b) { return a.key < b.key; }));
}

TEST_CASE("FakeS3 held by hand answers step by step") {
  FakeS3 s3;
  s3.put("a", "old");
  s3.set_manual(true);
  auto sink = std::make_shared<CollectSink>();
  const RequestId id = s3.get({.key = "a"}, sink);
  s3.freeze(id);
  s3.put("a", "newer");
  s3.release_headers(id);
  REQUIRE(sink->wait_headers());
  CHECK(sink->got().info.size == 3);
  s3.release_data(id, 2);
  REQUIRE(sink->wait_bytes(2));
  CHECK(sink->got().text == "ol");
  CHECK(s3.pending().size() == 1);
  s3.release(id);
  CHECK(sink->wait().text == "old");
  auto cancelled = std::make_shared<CollectSink>();
  s3.cancel(s3.get({.key = "a"}, cancelled));
  CHECK(cancelled->wait().status.is(Code::kCancelled));
  CHECK(s3.wait_idle());
}

TEST_CASE("FaultyS3 spoils what it is told to") {
  FakeS3 s3;
  s3.put("a", "0123456789");
  Fault fault;
  FaultyS3 faulty(s3, [&](const RequestInfo&) { return fault; });
  CHECK(get(faulty, {.key = "a"}).text == "0123456789");
  fault = {.kind = Fault::Kind::kShortBody, .error = {Code::kUnavailable, "cut"}, .bytes = 4};
  const Got cut = get(faulty, {.key = "a"});
  CHECK(cut.text == "0123");
  CHECK(cut.status.is(Code::kUnavailable));
  fault = {.kind = Fault::Kind::kFlipBit, .bytes = 2};
  CHECK(get(faulty, {.key = "a"}).text == "0133456789");
  fault = {.kind = Fault::Kind::kOtherEtag, .etag = "z"};
  CHECK(head(faulty, "a")->etag == "z");
  fault = {.kind = Fault::Kind::kError, .error = {Code::kTimeout, "slow"}};
  CHECK(list(faulty, {}).is(Code::kTimeout));
  fault.kind = Fault::Kind::kHold;
  auto sink = std::make_shared<CollectSink>();
  faulty.get({.key = "a"}, sink);
  CHECK(faulty.held() == 1);
  faulty.release_held();
  CHECK(sink->wait().text == "0123456789");
}
