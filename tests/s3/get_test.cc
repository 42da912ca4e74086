// GETs and HEADs against a server that lies, stalls and dies.
#include <catch2/catch.hpp>

#include "client_fixture.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

const std::string kBody = "0123456789";

std::string range_headers(int first, int last, int total, const std::string& etag = "v1") {
  return "ETag: \"" + etag + "\"\r\nContent-Range: bytes " + std::to_string(first) + "-" +
         std::to_string(last) + "/" + std::to_string(total) + "\r\n";
}

// A server with one answer for every request.
struct Fixed {
  explicit Fixed(std::string raw)
      : server([raw](HostileConnection& c, const std::string&, int) {
          c.send(raw);
          c.close();
        }),
        client(make_client(server)) {}
  HostileServer server;
  std::unique_ptr<S3HttpClient> client;
};

}  // namespace

TEST_CASE("a GET of a whole object gives headers, bytes and no Range") {
  HostileServer server([](HostileConnection& c, const std::string&, int) {
    c.answer(200,
             "ETag: \"v1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 "
             "08:50:00 GMT\r\n"
             "Content-Type: text/plain\r\nX-Amz-Meta-Mode: 33188\r\nServer: x\r\n",
             kBody);
  });
  auto client = make_client(server);
  const Got got = get(*client, {.key = "dir/a b+c"});
  CHECK(got.status.ok());
  CHECK(got.text == kBody);
  CHECK(got.info.size == 10);
  CHECK(got.info.etag == "v1");
  CHECK(got.info.last_modified == 784111777);
  CHECK(got.info.server_date == 784111800);
  REQUIRE(got.info.headers.size() == 2);
  CHECK(*got.info.header("x-amz-meta-mode") == "33188");
  const std::string request = server.log()[0];
  CHECK(request.substr(0, request.find("\r\n")) == "GET /bkt/dir/a%20b%2Bc HTTP/1.1");
  CHECK(request_header(request, "range").empty());
  CHECK(request_header(request, "x-amz-content-sha256") == kEmptySha256);
  CHECK(request_header(request, "authorization").find("AKIDEXAMPLE/") != std::string::npos);
  CHECK(client->counters().bytes_received == 10);
}

TEST_CASE("dot segments and doubled slashes are part of the key") {
  Fixed f("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n");
  CHECK(get(*f.client, {.key = "/x/../y//./z"}).status.ok());
  CHECK(f.server.log()[0].find("GET /bkt//x/../y//./z HTTP/1.1\r\n") == 0);
}

TEST_CASE("an empty object is an Ok with headers and no data") {
  Fixed f("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n");
  const Got got = get(*f.client, {.key = "a"});
  CHECK(got.status.ok());
  CHECK(got.headers_seen == 1);
  CHECK(got.text.empty());
}

TEST_CASE("a range carries If-Match and is cut at the object's end") {
  HostileServer server(
      [](HostileConnection& c, const std::string&, int) { c.answer(206, range_headers(6, 9, 10), "6789"); });
  auto client = make_client(server);
  const Got got = get(*client, {.key = "a", .offset = 6, .length = 100, .if_match = "v1"});
  CHECK(got.status.ok());
  CHECK(got.text == "6789");
  CHECK(got.info.size == 10);
  CHECK(got.offsets_ok);
  CHECK(request_header(server.log()[0], "range") == "bytes=6-105");
  CHECK(request_header(server.log()[0], "if-match") == "\"v1\"");
}

TEST_CASE("answers that contradict the request are corrupt, at once") {
  const auto [name, raw] = GENERATE(table<std::string, std::string>({
      {"wrong range",
       "HTTP/1.1 206 X\r\nContent-Length: 4\r\nETag: \"v1\"\r\nContent-Range: bytes 3-6/10\r\n\r\n3456"},
      {"range starts late",
       "HTTP/1.1 206 X\r\nContent-Length: 3\r\nETag: \"v1\"\r\nContent-Range: bytes 3-5/10\r\n\r\n345"},
      {"range too long",
       "HTTP/1.1 206 X\r\nContent-Length: 5\r\nETag: \"v1\"\r\nContent-Range: bytes 2-6/10\r\n\r\n23456"},
      {"range too short",
       "HTTP/1.1 206 X\r\nContent-Length: 3\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\n\r\n234"},
      {"no Content-Range", "HTTP/1.1 206 X\r\nContent-Length: 4\r\nETag: \"v1\"\r\n\r\n2345"},
      {"garbled Content-Range",
       "HTTP/1.1 206 X\r\nContent-Length: 4\r\nETag: \"v1\"\r\nContent-Range: bytes x\r\n\r\n2345"},
      {"length against range",
       "HTTP/1.1 206 X\r\nContent-Length: 9\r\nETag: \"v1\"\r\nContent-Range: bytes 2-5/10\r\n\r\n2345xxxxx"},
      {"range ignored", "HTTP/1.1 200 X\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n0123456789"},
      {"chunked and too long",
       "HTTP/1.1 206 X\r\nTransfer-Encoding: chunked\r\nETag: \"v1\"\r\nContent-Range: bytes 2-5/10\r\n\r\n"
       "4\r\n2345\r\n4\r\n6789\r\n0\r\n\r\n"},
      {"no ETag", "HTTP/1.1 206 X\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10\r\n\r\n2345"},
      {"a 204", "HTTP/1.1 204 X\r\nETag: \"v1\"\r\n\r\n"},
  }));
  INFO(name);
  Fixed f(raw);
  const Got got = get(*f.client, {.key = "a", .offset = 2, .length = 4, .if_match = "v1"});
  CHECK(got.status.is(Code::kCorrupt));
  CHECK(got.status.error().message.find("GET a") == 0);
  CHECK((got.text.empty() || got.text == "2345"));
  // Chunks are left to curl, which asks again.
  CHECK(f.server.requests() == (name.starts_with("chunked") ? 2 : 1));
  CHECK(f.client->counters().errors == 1);
}

TEST_CASE("200 to a range from 0 is fine when the object is no longer than the range") {
  Fixed fits("HTTP/1.1 200 X\r\nContent-Length: 4\r\nETag: \"v1\"\r\n\r\n0123");
  CHECK(get(*fits.client, {.key = "a", .offset = 0, .length = 8}).text == "0123");
  Fixed longer("HTTP/1.1 200 X\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n0123456789");
  CHECK(get(*longer.client, {.key = "a", .offset = 0, .length = 8}).status.is(Code::kCorrupt));
}

TEST_CASE("another version is stale: by 412, or by an ETag nobody asked for") {
  Fixed refused("HTTP/1.1 412 X\r\nContent-Length: 0\r\n\r\n");
  CHECK(get(*refused.client, {.key = "a", .if_match = "v1"}).status.is(Code::kStale));
  CHECK(refused.server.requests() == 1);
  Fixed ignored("HTTP/1.1 200 X\r\nContent-Length: 1\r\nETag: \"v2\"\r\n\r\nx");
  const Got got = get(*ignored.client, {.key = "a", .if_match = "v1"});
  CHECK(got.status.is(Code::kStale));
  CHECK(got.text.empty());
}

TEST_CASE("a GET cut in the middle resumes at the first missing byte and insists on the version") {
  const bool reset = GENERATE(false, true);
  HostileServer server([reset](HostileConnection& c, const std::string&, int n) {
    if (n == 0) {
      c.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n0123");
      if (reset)
        c.reset();
      else
        c.close();
    } else {
      c.answer(206, range_headers(4, 9, 10), "456789");
    }
  });
  auto client = make_client(server);
  const Got got = get(*client, {.key = "a"});
  // After a reset the kernel may throw away the four bytes that came first; then the request starts over.
  if (reset && server.log().size() > 1 && request_header(server.log()[1], "range").empty()) return;
  CHECK(got.status.ok());
  CHECK(got.text == kBody);
  CHECK(got.offsets_ok);
  CHECK(got.headers_seen == 1);
  REQUIRE(server.log().size() == 2);
  CHECK(request_header(server.log()[1], "range") == "bytes=4-9");
  CHECK(request_header(server.log()[1], "if-match") == "\"v1\"");
  CHECK(client->counters().retries == 1);
}

TEST_CASE("an object replaced between the attempts is never mixed") {
  HostileServer server([](HostileConnection& c, const std::string&, int n) {
    const std::string etag = "v" + std::to_string(n);
    if (n == 0)
      c.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\nETag: \"" + etag + "\"\r\n\r\n0123");
    else
      c.answer(206, range_headers(4, 9, 10, etag), "abcdef");
    c.close();
  });
  auto client = make_client(server);
  const Got got = get(*client, {.key = "a"});
  CHECK(got.status.is(Code::kStale));
  CHECK(got.text == "0123");
}

TEST_CASE("without ETags, another time or size is another version") {
  HostileServer server([](HostileConnection& c, const std::string&, int n) {
    const std::string second = std::to_string(10 + n);
    if (n == 0)
      c.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\nLast-Modified: Sun, 06 Nov 1994 08:49:" + second +
             " GMT\r\n\r\n0123");
    else
      c.answer(206,
               "Content-Range: bytes 4-9/10\r\nLast-Modified: Sun, 06 Nov 1994 08:49:" + second + " GMT\r\n",
               "abcdef");
    c.close();
  });
  auto client = make_client(server);
  CHECK(get(*client, {.key = "a"}).status.is(Code::kStale));
}

TEST_CASE("a body that stays short is unavailable after the tries of -o retries") {
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    if (request_header(r, "range").empty())
      c.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n0123");
    else
      c.send("HTTP/1.1 206 X\r\nContent-Length: 6\r\n" + range_headers(4, 9, 10) + "\r\n");
    c.close();
  });
  auto client = make_client(server);
  const Got got = get(*client, {.key = "a"});
  CHECK(got.status.is(Code::kUnavailable));
  CHECK(got.text == "0123");
  CHECK(server.requests() == 3);
}

TEST_CASE("503, then OK; 503 for ever") {
  HostileServer server([](HostileConnection& c, const std::string& r, int n) {
    if (n < 2 || r.find("/never") != std::string::npos)
      c.answer(503, "", "<Error><Code>SlowDown</Code><Message>Please</Message></Error>");
    else
      c.answer(200, "ETag: \"v1\"\r\n", kBody);
  });
  auto client = make_client(server);
  CHECK(get(*client, {.key = "a"}).text == kBody);
  CHECK(server.requests() == 3);
  const Got never = get(*client, {.key = "never"});
  CHECK(never.status.is(Code::kUnavailable));
  CHECK(never.status.error().message == "GET never: HTTP 503 SlowDown: Please");
  CHECK(server.requests() == 6);
}

TEST_CASE("a slow drip fails at the progress deadline") {
  HostileServer server([](HostileConnection& c, const std::string&, int) {
    c.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n0");
    c.wait_for_hangup();
  });
  S3Options o = test_options(server.url());
  o.http.readwrite_timeout_s = 1;
  o.retries = 1;
  auto client = make_client(o);
  const Got got = get(*client, {.key = "a"});
  CHECK(got.status.is(Code::kTimeout));
  CHECK(got.text == "0");
}

TEST_CASE("nobody listens: unavailable, with curl's reason") {
  S3Options o = test_options("http://127.0.0.1:1");
  auto client = make_client(o);
  const Got got = get(*client, {.key = "a"});
  CHECK(got.status.is(Code::kUnavailable));
  CHECK(got.status.error().message.find("onnect") != std::string::npos);
  CHECK(client->counters().retries == 2);
}

TEST_CASE("a skewed clock is corrected by the server's Date, once") {
  FakeClock clock;  // 2023-11-14
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    const std::string date = "Date: Tue, 14 Nov 2023 23:13:20 GMT\r\n";  // an hour ahead
    if (request_header(r, "x-amz-date") == "20231114T231320Z")
      c.answer(200, date + "ETag: \"v1\"\r\n", r.substr(0, 4) == "HEAD" ? "" : kBody);
    else
      c.answer(403, date, r.substr(0, 4) == "HEAD" ? "" : "<Error><Code>RequestTimeTooSkewed</Code></Error>");
  });
  auto client = make_client(test_options(server.url()), clock);
  SECTION("by the error's code") { CHECK(get(*client, {.key = "a"}).text == kBody); }
  SECTION("by the Date alone, for HEAD") { CHECK(head(*client, "a").ok()); }
  CHECK(server.requests() == 2);
  CHECK(get(*client, {.key = "a"}).text == kBody);
  CHECK(server.requests() == 3);
}

TEST_CASE("a skew that stays is an error, not a loop") {
  HostileServer server([](HostileConnection& c, const std::string&, int) {
    c.answer(403, "Date: Tue, 14 Nov 2023 23:13:20 GMT\r\n",
             "<Error><Code>RequestTimeTooSkewed</Code></Error>");
  });
  auto client = make_client(server);
  CHECK(get(*client, {.key = "a"}).status.is(Code::kAccessDenied));
  CHECK(server.requests() == 2);
}

TEST_CASE("credentials that were renewed meanwhile are used at once") {
  struct Rotating : CredentialsProvider {
    Result<Credentials> get() override { return Credentials{"AKID" + std::to_string(calls++), "secret"}; }
    std::atomic<int> calls{0};
  };
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    if (request_header(r, "authorization").find("Credential=AKID0/") != std::string::npos)
      c.answer(403, "", "<Error><Code>ExpiredToken</Code></Error>");
    else
      c.answer(200, "ETag: \"v1\"\r\n", kBody);
  });
  S3Options o = test_options(server.url());
  o.credentials = std::make_shared<Rotating>();
  auto client = make_client(o);
  CHECK(get(*client, {.key = "a"}).text == kBody);
  CHECK(server.requests() == 2);
}

TEST_CASE("HTTP status to Code") {
  const auto [status, code] = GENERATE(table<int, Code>({{404, Code::kNotFound},
                                                         {403, Code::kAccessDenied},
                                                         {401, Code::kAccessDenied},
                                                         {412, Code::kStale},
                                                         {400, Code::kInvalid},
                                                         {416, Code::kInvalid},
                                                         {301, Code::kInvalid},
                                                         {501, Code::kUnsupported},
                                                         {500, Code::kUnavailable},
                                                         {429, Code::kUnavailable}}));
  INFO(status);
  const int wanted = status;
  HostileServer server([wanted](HostileConnection& c, const std::string&, int) { c.answer(wanted, "", ""); });
  auto client = make_client(server);
  CHECK(get(*client, {.key = "a"}).status.is(code));
  CHECK(head(*client, "a").is(code));
}

TEST_CASE("a bucket that vanished does not look like a deleted object") {
  Fixed f("HTTP/1.1 404 X\r\nContent-Length: 44\r\n\r\n<Error><Code>NoSuchBucket</Code></Error>    ");
  CHECK(get(*f.client, {.key = "a"}).status.is(Code::kUnavailable));
}
