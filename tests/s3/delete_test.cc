// Deletes, single and many, against servers that know half of it.
#include <catch2/catch.hpp>

#include "base/encoding.h"
#include "s3/digests.h"
#include "s3/xml_writes.h"
#include "script.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

std::string failed(const std::string& key, const std::string& code) {
  return "<Error><Key>" + key + "</Key><Code>" + code + "</Code><Message>m</Message></Error>";
}

std::string result(const std::string& inside = {}) {
  return "<?xml version=\"1.0\"?><DeleteResult>" + inside + "</DeleteResult>";
}

}  // namespace

TEST_CASE("a DELETE of what is not there has succeeded") {
  Script s({{204}, {404, {}, error_xml("NoSuchKey")}, {404}, {404, {}, error_xml("NoSuchBucket")}, {403}});
  CHECK(remove(*s.client, {"a b", "v1"}).ok());
  CHECK(s.first_line(0) == "DELETE /bkt/a%20b HTTP/1.1");
  CHECK(s.header(0, "if-match") == "\"v1\"");
  CHECK(remove(*s.client, {"a", ""}).ok());
  CHECK(s.header(1, "if-match").empty());
  CHECK(remove(*s.client, {"a", ""}).ok());
  CHECK(remove(*s.client, {"a", ""}).is(Code::kUnavailable));
  CHECK(remove(*s.client, {"a", ""}).is(Code::kAccessDenied));
  CHECK(remove(*s.client, {"", ""}).is(Code::kInvalid));
  CHECK(s.client->counters().errors == 3);
}

TEST_CASE("many keys are one request, escaped and with its MD5") {
  Script s({{200, {}, result()}});
  const auto r = remove_many(*s.client, {{"a<&>\"'", ""}, {"\xc3\xa4", "v1"}});
  REQUIRE(r.ok());
  CHECK(r->empty());
  CHECK(s.server.requests() == 1);
  CHECK(s.first_line(0) == "POST /bkt?delete= HTTP/1.1");
  const std::string body = s.body(0);
  CHECK(body.find("<Object><Key>a&lt;&amp;&gt;&quot;'</Key></Object>") != std::string::npos);
  CHECK(body.find("<Key>\xc3\xa4</Key><ETag>&quot;v1&quot;</ETag>") != std::string::npos);
  CHECK(s.header(0, "content-md5") == base64_encode(md5_raw(body)));
  CHECK(s.header(0, "content-length") == std::to_string(body.size()));
  CHECK(s.client->counters().batch_deletes == 1);
}

TEST_CASE("failures are told by key; what may pass is tried again alone") {
  Script s({{200,
             {},
             result(failed("a", "AccessDenied") + failed("b", "InternalError") + failed("c", "NoSuchKey") +
                    failed("d", "PreconditionFailed") + failed("stranger", "AccessDenied"))},
            {200, {}, result()}});
  const auto r = remove_many(*s.client, {{"a", ""}, {"b", ""}, {"c", ""}, {"d", "v1"}, {"e", ""}});
  REQUIRE(r.ok());
  REQUIRE(r->size() == 2);
  CHECK(r->at(0).key == "a");
  CHECK(r->at(0).error.code == Code::kAccessDenied);
  CHECK(r->at(1).key == "d");
  CHECK(r->at(1).error.code == Code::kStale);
  CHECK(s.server.requests() == 2);
  CHECK(s.body(1).find("<Key>b</Key>") != std::string::npos);
  CHECK(s.body(1).find("<Key>a</Key>") == std::string::npos);
  Script for_ever({{200, {}, result(failed("b", "SlowDown"))}});
  const auto f = remove_many(*for_ever.client, {{"a", ""}, {"b", ""}});
  REQUIRE(f.ok());
  REQUIRE(f->size() == 1);
  CHECK(f->at(0).key == "b");
  CHECK(f->at(0).error.code == Code::kUnavailable);
  CHECK(for_ever.server.requests() == 3);
}

TEST_CASE("a batch that fails as a whole is an Error") {
  Script s({{403, {}, error_xml("AccessDenied")}});
  CHECK(remove_many(*s.client, {{"a", ""}, {"b", ""}}).is(Code::kAccessDenied));
  Script late({{200, {}, error_xml("InternalError")}, {200, {}, result()}});
  CHECK(remove_many(*late.client, {{"a", ""}, {"b", ""}})->empty());
  Script nonsense({{200, {}, "<html/>"}});
  CHECK(remove_many(*nonsense.client, {{"a", ""}, {"b", ""}}).is(Code::kCorrupt));
  Script keyless({{200, {}, result(failed("", "AccessDenied"))}});
  CHECK(remove_many(*keyless.client, {{"a", ""}, {"b", ""}}).is(Code::kCorrupt));
  CHECK(remove_many(*s.client, std::vector<DeleteItem>(1001, {"a", ""})).is(Code::kInvalid));
  CHECK(remove_many(*s.client, {})->empty());
  CHECK(s.server.requests() == 1);
}

TEST_CASE("a server without DeleteObjects gets single DELETEs, and is remembered") {
  const int status = GENERATE(501, 405);
  HostileServer server([status](HostileConnection& c, const std::string& request, int) {
    if (request.compare(0, 4, "POST") == 0)
      c.answer(status, {}, "");
    else
      c.answer(request.find("/bkt/b ") != std::string::npos ? 403 : 204, {}, "");
  });
  auto client = make_client(server);
  const std::vector<DeleteItem> items = {{"a", ""}, {"b", ""}, {"c", ""}};
  const auto r = remove_many(*client, items);
  REQUIRE(r.ok());
  REQUIRE(r->size() == 1);
  CHECK(r->at(0).key == "b");
  CHECK(r->at(0).error.code == Code::kAccessDenied);
  CHECK(server.requests() == 4);
  CHECK(remove_many(*client, items)->size() == 1);
  CHECK(server.requests() == 7);
  CHECK(client->counters().deletes == 6);
}

TEST_CASE("XML that one server cannot read does not cost the verb") {
  HostileServer server([](HostileConnection& c, const std::string& request, int n) {
    if (n == 0)
      c.answer(400, {}, error_xml("MalformedXML"));
    else
      c.answer(request.compare(0, 4, "POST") == 0 ? 200 : 204, {},
               request.compare(0, 4, "POST") == 0 ? result() : "");
  });
  auto client = make_client(server);
  CHECK(remove_many(*client, {{"a", ""}, {"b", ""}})->empty());
  CHECK(server.requests() == 3);
  CHECK(remove_many(*client, {{"a", ""}, {"b", ""}})->empty());
  CHECK(server.requests() == 4);
}

TEST_CASE("keys that XML cannot carry go alone, the rest together") {
  for (const char* good : {"a", "a b", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "a/b", "'&<>\""})
    CHECK(xml_can_carry(good));
  for (const char* bad : {"", "\x01", "a\tb", "a\nb", "\x7f", "a ", " a", "\xff", "\xc3", "\xc3(", "\xc0\xaf",
                          "\xed\xa0\x80", "\xef\xbf\xbe", "\xf4\x90\x80\x80", "\xc2\x85", "\xe2\x80\xa8"})
    CHECK_FALSE(xml_can_carry(bad));
  HostileServer server([](HostileConnection& c, const std::string& request, int) {
    c.answer(200, {}, request.compare(0, 4, "POST") == 0 ? result(failed("b", "AccessDenied")) : "");
  });
  auto client = make_client(server);
  const auto r = remove_many(*client, {{"a\n", ""}, {"b", ""}, {"c", ""}, {"\xff", ""}});
  REQUIRE(r.ok());
  CHECK(r->size() == 1);
  CHECK(server.requests() == 3);
  // When the batch fails and single ones do not, each key of the batch has its own failure.
  HostileServer half([](HostileConnection& c, const std::string& request, int) {
    c.answer(request.compare(0, 4, "POST") == 0 ? 403 : 204, {}, "");
  });
  auto other = make_client(half);
  const auto h = remove_many(*other, {{"a\n", ""}, {"b", ""}, {"c", ""}});
  REQUIRE(h.ok());
  CHECK(h->size() == 2);
}

TEST_CASE("deletes in flight are all told when the client stops") {
  HostileServer server([](HostileConnection& c, const std::string&, int) { c.wait_for_hangup(); });
  auto client = make_client(server);
  std::atomic<int> ended{0};
  std::vector<DeleteItem> odd;
  for (int i = 0; i < 100; ++i) odd.push_back({"\x01" + std::to_string(i), ""});
  odd.push_back({"a", ""});
  odd.push_back({"b", ""});
  client->remove_many(odd, [&](Result<std::vector<DeleteFailure>> r) {
    if (r.ok() && r->size() == odd.size() && r->front().error.code == Code::kCancelled) ++ended;
  });
  client->put({.key = "a", .body = string_body("x")},
              [&](Result<Written> w) { ended += w.is(Code::kCancelled); });
  client->shutdown();
  CHECK(ended == 2);
  CHECK(remove(*client, {"a", ""}).is(Code::kCancelled));
  CHECK(remove_many(*client, {{"a", ""}, {"b", ""}}).is(Code::kCancelled));
}
