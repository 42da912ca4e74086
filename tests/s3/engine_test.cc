// What an answer may cost us, cancellation, connection reuse and priorities.
#include <catch2/catch.hpp>

#include "client_fixture.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

const std::string kBody = "0123456789";

}  // namespace

TEST_CASE("an endless error body and endless headers are cut off") {
  std::atomic<int> chunks{0};
  HostileServer server([&chunks](HostileConnection& c, const std::string& r, int) {
    const bool headers = r.find("/headers") != std::string::npos;
    bool go = c.send(headers ? "HTTP/1.1 200 X\r\n" : "HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = headers ? "X-Amz-Meta-A: " + std::string(1000, 'x') + "\r\n"
                                      : "400\r\n" + std::string(1024, 'x') + "\r\n";
    for (chunks = 0; go && chunks < 100'000; ++chunks) go = c.send(chunk);
    c.close();
  });
  S3Options o = test_options(server.url());
  o.retries = 1;
  auto client = make_client(o);
  CHECK(get(*client, {.key = "body"}).status.is(Code::kNotFound));
  CHECK(chunks < 100'000);  // not to the end: only what socket buffers hold
  CHECK(get(*client, {.key = "headers"}).status.is(Code::kUnavailable));
  CHECK(chunks < 100'000);
}

TEST_CASE("kept headers are bounded to 8 KiB") {
  std::string headers;
  for (int i = 0; i < 100; ++i)
    headers += "X-Amz-Meta-K" + std::to_string(i) + ": " + std::string(200, 'x') + "\r\n";
  HostileServer server([headers](HostileConnection& c, const std::string&, int) {
    c.send("HTTP/1.1 200 X\r\nContent-Length: 7\r\n" + headers + "\r\n");
  });
  auto client = make_client(server);
  const auto info = head(*client, "a");
  REQUIRE(info.ok());
  CHECK(info->size == 7);
  size_t bytes = 0;
  for (const auto& [k, v] : info->headers) bytes += k.size() + v.size();
  CHECK(bytes > 7000);
  CHECK(bytes <= 8192);
}

TEST_CASE("cancel, a sink that says no, and requests that make no sense") {
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    if (r.find("/hang") != std::string::npos) return c.wait_for_hangup();
    c.answer(200, "ETag: \"v1\"\r\n", kBody);
  });
  auto client = make_client(server);
  auto sink = std::make_shared<CollectSink>();
  const RequestId id = client->get({.key = "hang"}, sink);
  CHECK(id != 0);
  client->cancel(id);
  CHECK(sink->wait().status.is(Code::kCancelled));

  struct Refusing : CollectSink {
    bool on_headers(const ObjectInfo&) override { return false; }
  };
  auto refusing = std::make_shared<Refusing>();
  client->get({.key = "a"}, refusing);
  CHECK(refusing->wait().status.is(Code::kCancelled));

  CHECK(get(*client, {.key = "a", .offset = -1}).status.is(Code::kInvalid));
  CHECK(get(*client, {.key = "a", .length = 0}).status.is(Code::kInvalid));
  CHECK(get(*client, {.key = ""}).status.is(Code::kInvalid));

  auto last = std::make_shared<CollectSink>();
  client->get({.key = "hang"}, last);
  client->shutdown();
  CHECK(last->wait().status.is(Code::kCancelled));
  CHECK(get(*client, {.key = "a"}).status.is(Code::kCancelled));
}

TEST_CASE("connections are reused") {
  HostileServer server(
      [](HostileConnection& c, const std::string&, int) { c.answer(200, "ETag: \"v1\"\r\n", kBody); });
  auto client = make_client(server);
  for (int i = 0; i < 20; ++i) REQUIRE(get(*client, {.key = "a"}).status.ok());
  CHECK(server.connections() == 1);
}

TEST_CASE("foreground overtakes queued background, and promote() lets one through") {
  Mutex mu;
  CondVar cv;
  bool go = false;
  HostileServer server([&](HostileConnection& c, const std::string&, int n) {
    if (n == 0) {
      MutexLock l(mu);
      while (!go) cv.wait(mu);
    }
    c.answer(200, "ETag: \"v1\"\r\n", "");
  });
  S3Options o = test_options(server.url());
  o.http.max_connections = 1;
  auto client = make_client(o);
  std::vector<std::shared_ptr<CollectSink>> sinks;
  std::vector<RequestId> ids;
  const auto send = [&](const char* key, Priority p) {
    sinks.push_back(std::make_shared<CollectSink>());
    ids.push_back(client->get({.key = key, .priority = p}, sinks.back()));
  };
  send("first", Priority::kForeground);
  while (server.requests() + static_cast<int>(server.log().size()) == 0) std::this_thread::yield();
  send("b1", Priority::kBackground);
  send("b2", Priority::kBackground);
  client->promote(ids[2]);
  send("f", Priority::kForeground);
  {
    MutexLock l(mu);
    go = true;
    cv.notify_all();
  }
  for (const auto& s : sinks) REQUIRE(s->wait().status.ok());
  std::string order;
  for (const auto& r : server.log()) order += r.substr(9, r.find(" HTTP") - 9) + " ";
  CHECK(order == "first b2 f b1 ");
}
