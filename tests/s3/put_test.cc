// PUTs of objects and parts against a server that refuses, stalls and dies.
#include <catch2/catch.hpp>
#include <chrono>

#include "base/crc32c.h"
#include "s3/digests.h"
#include "s3/retry.h"
#include "script.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

const std::string kHello = "hello";
const std::string kHelloMd5 = "5d41402abc4b2a76b9719d911017c592";

// Notes what was read of it, and may end badly.
class WatchedBody : public Body {
 public:
  explicit WatchedBody(std::string data, int64_t broken_at = -1)
      : inner_(std::move(data)), broken_at_(broken_at) {}
  int64_t size() const override { return inner_.size(); }
  Result<size_t> read(int64_t offset, std::span<std::byte> out) override {
    if (offset == 0) ++passes;
    largest = std::max(largest.load(), out.size());
    if (broken_at_ >= 0 && offset >= broken_at_) return Error{Code::kIo, "the cache file is gone"};
    return inner_.read(offset, out);
  }
  std::atomic<int> passes{0};
  std::atomic<size_t> largest{0};

 private:
  StringBody inner_;
  const int64_t broken_at_;
};

std::string etag(const std::string& e) { return "ETag: \"" + e + "\"\r\n"; }

}  // namespace

TEST_CASE("a PUT carries headers, length, hash and checksum, all signed") {
  Script s({{200, etag(kHelloMd5) + "Date: Sun, 06 Nov 1994 08:50:00 GMT\r\n"}});
  const auto w = put(*s.client, {.key = "dir/a b",
                                 .body = string_body(kHello),
                                 .headers = {{"content-type", "text/plain"}, {"x-amz-meta-mode", "33188"}},
                                 .crc32c = crc32c(0, "hello", 5)});
  REQUIRE(w.ok());
  CHECK(w->etag == kHelloMd5);
  CHECK(w->server_date == 784111800);
  CHECK(w->crc32c == crc32c(0, "hello", 5));
  CHECK(s.first_line(0) == "PUT /bkt/dir/a%20b HTTP/1.1");
  CHECK(s.header(0, "content-length") == "5");
  CHECK(s.header(0, "content-type") == "text/plain");
  CHECK(s.header(0, "x-amz-meta-mode") == "33188");
  CHECK(s.header(0, "x-amz-content-sha256") == sha256_hex(std::string_view(kHello)));
  CHECK(s.header(0, "x-amz-checksum-crc32c") == "mnG7TA==");
  CHECK(s.header(0, "expect").empty());
  CHECK(s.header(0, "transfer-encoding").empty());
  const std::string auth = s.header(0, "authorization");
  for (const char* name :
       {"content-type", "x-amz-meta-mode", "x-amz-checksum-crc32c", "x-amz-content-sha256"})
    CHECK(auth.find(name) != std::string::npos);
  CHECK(s.body(0) == kHello);
  CHECK(s.client->counters().puts == 1);
  CHECK(s.client->counters().bytes_sent == 5);
}

TEST_CASE("an empty PUT has a length of 0") {
  Script s({{200, etag("d41d8cd98f00b204e9800998ecf8427e")}});
  CHECK(put(*s.client, {.key = "a"}).ok());
  CHECK(s.header(0, "content-length") == "0");
  CHECK(s.header(0, "x-amz-content-sha256") == kEmptySha256);
}

TEST_CASE("the hash is the caller's, computed for each attempt, or left out") {
  const std::string text(300'000, 'x');
  const auto given = std::make_shared<WatchedBody>(text);
  Script s({{503}, {200, etag("e")}});
  CHECK(put(*s.client, {.key = "a", .body = given, .sha256_hex = std::string(64, 'a')}).ok());
  CHECK(given->passes == 2);  // two attempts, nothing read for the hash
  CHECK(s.header(1, "x-amz-content-sha256") == std::string(64, 'a'));
  const auto computed = std::make_shared<WatchedBody>(text);
  Script t({{503}, {200, etag("e")}});
  CHECK(put(*t.client, {.key = "a", .body = computed}).ok());
  CHECK(computed->passes == 4);  // the next attempt's body may be another one
  CHECK(t.header(1, "x-amz-content-sha256") == sha256_hex(std::string_view(text)));
  Script u({{200, etag("e")}}, [](S3Options& o) { o.unsigned_payload = true; });
  const auto unread = std::make_shared<WatchedBody>(text);
  CHECK(put(*u.client, {.key = "a", .body = unread}).ok());
  CHECK(unread->passes == 1);
  CHECK(u.header(0, "x-amz-content-sha256") == kUnsignedPayload);
}

TEST_CASE("a large body goes in large pieces and again after a refusal") {
  std::string text(3 << 20, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761u >> 24);
  const auto body = std::make_shared<WatchedBody>(text);
  Script s({{500, {}, error_xml("InternalError")}, {200, etag("e")}});
  CHECK(upload_part(*s.client, {.key = "a",
                                .upload_id = "u/+",
                                .number = 7,
                                .body = body,
                                .sha256_hex = sha256_hex(std::string_view(text))})
            .ok());
  CHECK(s.first_line(1) == "PUT /bkt/a?partNumber=7&uploadId=u%2F%2B HTTP/1.1");
  CHECK(s.body(1) == text);
  CHECK(body->largest >= 500 * 1024);
  CHECK(s.client->counters().bytes_sent == 2 * text.size());
  CHECK(s.client->counters().retries == 1);
}

TEST_CASE("Retry-After is waited for, by every verb, up to 20 s") {
  const auto seconds_of = [](const std::function<void()>& work) {
    const auto t0 = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count();
  };
  Script s({{503, "Retry-After: 1\r\n"}, {200, etag("e")}});
  CHECK(seconds_of([&] { CHECK(put(*s.client, {.key = "a", .body = string_body("x")}).ok()); }) >= 1.0);
  Script t({{429, "Date: Sun, 06 Nov 1994 08:50:00 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:01 GMT\r\n"},
            {200, etag("e"), "x"}});
  CHECK(seconds_of([&] { CHECK(get(*t.client, {.key = "a"}).status.ok()); }) >= 1.0);
  // Only when the server asks for less: a wish with another refusal is not ours to guess.
  Script u({{500, "Retry-After: 10\r\n"}, {200, etag("e")}});
  CHECK(seconds_of([&] { CHECK(put(*u.client, {.key = "a"}).ok()); }) < 5.0);
  const RetryPolicy policy(5, 50);
  CHECK(policy.delay_ms(1, INT64_MAX) == RetryPolicy::kMaxDelayMs);
  CHECK(policy.delay_ms(1, 3) >= 3000);
  CHECK(policy.delay_ms(1, -3) >= 0);
  CHECK(policy.delay_ms(1, -3) <= 50);
}

TEST_CASE("a connection that breaks in the middle of a part is tried again") {
  const size_t size = 4 << 20;
  HostileServer server(
      [&](HostileConnection& c, const std::string&, int n) {
        if (!c.read_body(n < 2 ? size / 2 : size)) return c.close();
        if (n < 2)
          c.reset();
        else
          c.answer(200, etag("e"), "");
      },
      HostileServer::Wants::kHeadersOnly);
  auto client = make_client(server);
  const auto body = std::make_shared<WatchedBody>(std::string(size, 'x'));
  const auto w = upload_part(
      *client, {.key = "a", .upload_id = "u", .number = 1, .body = body, .sha256_hex = std::string(64, 'a')});
  CHECK(w.ok());
  CHECK(server.requests() == 3);
  CHECK(client->counters().retries == 2);
  CHECK(body->passes == 3);
}

TEST_CASE("a refusal that comes before the body was sent ends the PUT at once") {
  HostileServer server(
      [&](HostileConnection& c, const std::string&, int) {
        c.answer(403, "Connection: close\r\n", error_xml("AccessDenied"));
        c.wait_for_hangup();
      },
      HostileServer::Wants::kHeadersOnly);
  auto client = make_client(server);
  const auto body = std::make_shared<WatchedBody>(std::string(64 << 20, 'x'));
  const auto w = put(*client, {.key = "a", .body = body, .sha256_hex = std::string(64, 'a')});
  CHECK(w.is(Code::kAccessDenied));
  CHECK(server.requests() == 1);
  CHECK(client->counters().bytes_sent < (32u << 20));
}

TEST_CASE("a body that cannot be read is the caller's error and is not sent again") {
  Script s({{200, etag("e")}});
  const auto body = std::make_shared<WatchedBody>(std::string(3 << 20, 'x'), 1 << 20);
  const auto w = put(*s.client, {.key = "a", .body = body, .sha256_hex = std::string(64, 'a')});
  CHECK(w.is(Code::kIo));
  CHECK(message_of(w).find("PUT a: the cache file is gone") == 0);
  CHECK(body->passes == 1);
  const auto hashed = put(*s.client, {.key = "a", .body = body});
  CHECK(hashed.is(Code::kIo));
  CHECK(s.server.requests() == 0);
}

TEST_CASE("a server that refuses checksums is remembered") {
  const auto [status, body] = GENERATE(table<int, std::string>({
      {501,
       error_xml("NotImplemented", "A header you provided implies functionality that is not implemented")},
      {400, error_xml("InvalidRequest", "Value for x-amz-checksum-crc32c header is invalid.")},
      {400, error_xml("InvalidArgument", "unknown header x-amz-sdk-checksum-algorithm")},
  }));
  Script s({{status, {}, body}, {200, etag("e")}});
  const PutRequest r{.key = "a", .body = string_body(kHello), .crc32c = 1};
  const auto w = put(*s.client, r);
  REQUIRE(w.ok());
  CHECK_FALSE(w->crc32c);
  CHECK_FALSE(s.header(0, "x-amz-checksum-crc32c").empty());
  CHECK(s.header(1, "x-amz-checksum-crc32c").empty());
  CHECK(s.header(1, "x-amz-sdk-checksum-algorithm").empty());
  CHECK(put(*s.client, r).ok());
  CHECK(s.server.requests() == 3);
  CHECK(s.header(2, "x-amz-checksum-crc32c").empty());
  CHECK(s.client->counters().retries == 0);
}

TEST_CASE("a refusal that checksums do not explain is not blamed on them") {
  Script s(
      {{501, {}, error_xml("NotImplemented")}, {501, {}, error_xml("NotImplemented")}, {200, etag("e")}});
  const PutRequest r{.key = "a", .body = string_body(kHello), .crc32c = 1};
  CHECK(put(*s.client, r).is(Code::kUnsupported));
  CHECK(s.server.requests() == 2);
  CHECK(s.client->conditions_supported());
  CHECK(put(*s.client, r).ok());
  CHECK_FALSE(s.header(2, "x-amz-checksum-crc32c").empty());
  // Bytes that changed on their way are sent again, with their checksum.
  Script t({{400, {}, error_xml("BadDigest", "The crc32c checksum did not match")}, {200, etag("e")}});
  CHECK(put(*t.client, r).ok());
  CHECK_FALSE(t.header(1, "x-amz-checksum-crc32c").empty());
}

TEST_CASE("conditions of a PUT: taken, lost, in conflict, not known") {
  Script lost({{412, {}, error_xml("PreconditionFailed")}});
  CHECK(put(*lost.client, {.key = "a", .if_none_match = true}).is(Code::kExists));
  CHECK(lost.header(0, "if-none-match") == "*");
  CHECK(put(*lost.client, {.key = "a", .if_match = "v1"}).is(Code::kStale));
  CHECK(lost.header(1, "if-match") == "\"v1\"");
  CHECK(lost.client->counters().errors == 0);
  CHECK(put(*lost.client, {.key = "a", .if_none_match = true, .if_match = "v1"}).is(Code::kInvalid));
  CHECK(lost.server.requests() == 2);

  Script conflict({{409, {}, error_xml("ConditionalRequestConflict")}, {200, etag("e")}});
  CHECK(put(*conflict.client, {.key = "a", .if_none_match = true}).ok());
  CHECK(conflict.server.requests() == 2);

  Script unknown({{501, {}, error_xml("NotImplemented")}, {200, etag("e")}});
  CHECK(unknown.client->conditions_supported());
  CHECK(put(*unknown.client, {.key = "a", .if_none_match = true}).is(Code::kUnsupported));
  CHECK_FALSE(unknown.client->conditions_supported());
  CHECK(put(*unknown.client, {.key = "a", .if_match = "v1"}).is(Code::kUnsupported));
  CHECK(unknown.server.requests() == 1);
  CHECK(put(*unknown.client, {.key = "a"}).ok());
}

TEST_CASE("a conditional PUT whose answer was lost is looked at before it counts as refused") {
  const PutRequest r{.key = "a", .body = string_body(kHello), .if_none_match = true};
  const Answer lost{.lost = true};
  const Answer refused{412, {}, error_xml("PreconditionFailed")};
  Script ours({lost, refused, {200, etag(kHelloMd5) + "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"}});
  const auto w = put(*ours.client, r);
  REQUIRE(w.ok());
  CHECK(w->etag == kHelloMd5);
  CHECK(w->last_modified == 784111777);
  CHECK(ours.first_line(2) == "HEAD /bkt/a HTTP/1.1");
  Script theirs({lost, refused, {200, etag("other")}});
  CHECK(put(*theirs.client, r).is(Code::kExists));
  CHECK(theirs.server.requests() == 3);
  Script gone({lost, refused, {404}});
  CHECK(put(*gone.client, r).is(Code::kExists));
  Script silent({lost, refused, {500}});
  CHECK(put(*silent.client, r).is(Code::kUnavailable));
  // Without a lost answer there is nothing to look at.
  Script plain({refused, {200, etag(kHelloMd5)}});
  CHECK(put(*plain.client, r).is(Code::kExists));
  CHECK(plain.server.requests() == 1);
}

TEST_CASE("what S3 says of writes becomes a Code") {
  const auto [status, s3_code, code] = GENERATE(table<int, std::string, Code>({
      {403, "AccessDenied", Code::kAccessDenied},
      {404, "NoSuchUpload", Code::kNotFound},
      {404, "NoSuchBucket", Code::kUnavailable},
      {400, "EntityTooLarge", Code::kTooBig},
      {413, "", Code::kTooBig},
      {507, "InsufficientStorage", Code::kNoSpace},
      {507, "", Code::kNoSpace},
      {403, "QuotaExceeded", Code::kNoSpace},
      {400, "KeyTooLongError", Code::kNameTooLong},
      {400, "MetadataTooLarge", Code::kNoSpace},
      {405, "MethodNotAllowed", Code::kUnsupported},
      {409, "ObjectParentIsFile", Code::kNotDirectory},
      {400, "InvalidArgument", Code::kInvalid},
      {400, "EntityTooSmall", Code::kInvalid},
  }));
  INFO(status << " " << s3_code);
  Script s({{status, {}, s3_code.empty() ? std::string() : error_xml(s3_code)}});
  const auto w =
      upload_part(*s.client, {.key = "a", .upload_id = "u", .number = 1, .body = string_body("x")});
  CHECK(w.is(code));
  CHECK(message_of(w).find(s3_code) != std::string::npos);
  CHECK(s.server.requests() == 1);
}

TEST_CASE("requests that would break the protocol are not sent") {
  Script s({{200, etag("e")}});
  S3Client& s3 = *s.client;
  CHECK(put(s3, {.key = ""}).is(Code::kInvalid));
  CHECK(put(s3, {.key = "a", .headers = {{"x-amz-meta-x", "1\r\nx-evil: 1"}}}).is(Code::kInvalid));
  CHECK(put(s3, {.key = "a", .headers = {{"x:y", "1"}}}).is(Code::kInvalid));
  CHECK(put(s3, {.key = "a", .headers = {{"", "1"}}}).is(Code::kInvalid));
  CHECK(create_upload(s3, {.key = "a", .headers = {{"x", std::string("\0", 1)}}}).is(Code::kInvalid));
  CHECK(upload_part(s3, {.key = "a", .upload_id = "u", .number = 0}).is(Code::kInvalid));
  CHECK(upload_part(s3, {.key = "a", .upload_id = "u", .number = 10'001}).is(Code::kInvalid));
  CHECK(upload_part(s3, {.key = "a", .upload_id = "", .number = 1}).is(Code::kInvalid));
  CHECK(s.server.requests() == 0);
  // An empty value is a header, too.
  CHECK(put(s3, {.key = "a", .headers = {{"x-amz-meta-x", ""}}}).ok());
  CHECK(s.request(0).find("\r\nx-amz-meta-x:") != std::string::npos);
}

TEST_CASE("an answer to a PUT that never ends is cut off") {
  Script s({{200, etag("e"), std::string(100'000, ' ')}});
  CHECK(put(*s.client, {.key = "a"}).is(Code::kCorrupt));
  Script t({{200, etag("e"), error_xml("InternalError")}, {200, etag("e")}});
  CHECK(put(*t.client, {.key = "a"}).ok());
  CHECK(t.server.requests() == 2);
}
