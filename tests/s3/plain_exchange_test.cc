// GETs over plain connections of our own: in place, over odd answers and dead connections.
#include "s3/plain_exchange.h"

#include <catch2/catch.hpp>
#include <future>

#include "client_fixture.h"
#include "s3/direct_sink.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

// Hands out room in pieces of 7,000 bytes and counts what was received in place.
class InPlace : public DirectSink {
 public:
  explicit InPlace(size_t size) : bytes_(size) {}
  bool on_headers(const ObjectInfo&) override { return true; }
  std::span<std::byte> space(int64_t offset) override {
    const auto at = static_cast<size_t>(offset);
    return std::span(bytes_).subspan(at, std::min(bytes_.size() - at, 7000 - at % 7000));
  }
  bool on_data(int64_t offset, std::span<const std::byte> data) override {
    std::byte* const to = bytes_.data() + offset;
    if (data.data() == to) {
      in_place += data.size();
    } else {
      std::copy(data.begin(), data.end(), to);
    }
    return true;
  }
  void on_done(Status status) override { done.set_value(std::move(status)); }
  std::string text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

  size_t in_place = 0;
  std::promise<Status> done;

 private:
  std::vector<std::byte> bytes_;
};

std::string pattern(size_t n) {
  std::string s(n, ' ');
  for (size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 7 + i / 251);
  return s;
}

}  // namespace

TEST_CASE("a body is received in place") {
  const std::string body = pattern(1'000'000);
  HostileServer server(
      [&](HostileConnection& c, const std::string&, int) { c.answer(200, "ETag: \"v1\"\r\n", body); });
  auto client = make_client(server);
  for (int i = 0; i < 2; ++i) {
    auto sink = std::make_shared<InPlace>(body.size());
    client->get({.key = "a"}, sink);
    REQUIRE(sink->done.get_future().get().ok());
    CHECK(sink->text() == body);
    CHECK(sink->in_place > body.size() - 20'000);  // all but what came with the headers
  }
  CHECK(server.connections() == 1);
}

TEST_CASE("an answer in single bytes, behind a 100 Continue") {
  const std::string all =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n0123456789";
  HostileServer server([&](HostileConnection& c, const std::string&, int) {
    for (const char byte : all) c.send(std::string(1, byte));
  });
  auto client = make_client(server);
  for (int i = 0; i < 2; ++i) CHECK(get(*client, {.key = "a"}).text == "0123456789");
  CHECK(server.connections() == 1);
}

TEST_CASE("what one Content-Length does not frame is curl's, and its errors too") {
  const auto raw = GENERATE(
      std::string("HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n3e\r\n<Error><Code>NoSuchKey</Code>"
                  "<Message>gone</Message></Error>  \r\n0\r\n\r\n"),
      std::string("HTTP/1.1 404 X\r\nConnection: close\r\n\r\n<Error><Code>NoSuchKey</Code></Error>"),
      std::string("HTTP/1.1 404 X\nContent-Length: 0\n\n"));
  HostileServer server([&](HostileConnection& c, const std::string&, int) {
    c.send(raw);
    if (raw.find("chunked") == std::string::npos) c.close();
  });
  auto client = make_client(server);
  const Got got = get(*client, {.key = "a"});
  CHECK(got.status.is(Code::kNotFound));
  CHECK(server.requests() == 2);
}

TEST_CASE("a connection that died between two requests is replaced without a failure") {
  std::atomic<bool> hang_up = true;
  HostileServer server([&](HostileConnection& c, const std::string&, int n) {
    // The second request finds the connection open and gets no answer on it.
    if (n == 1 && hang_up.exchange(false)) return c.close();
    c.answer(200, "ETag: \"v1\"\r\n", "0123456789");
  });
  auto client = make_client(server);
  CHECK(get(*client, {.key = "a"}).text == "0123456789");
  CHECK(get(*client, {.key = "a"}).text == "0123456789");
  CHECK(client->counters().retries == 0);
  CHECK(server.connections() == 2);
}

TEST_CASE("Connection: close is believed, and so is HTTP/1.0") {
  const auto head =
      GENERATE(std::string("HTTP/1.1 200 OK\r\nConnection: Close\r\n"), std::string("HTTP/1.0 200 OK\r\n"));
  HostileServer server([&](HostileConnection& c, const std::string&, int) {
    c.send(head + "Content-Length: 3\r\nETag: \"v1\"\r\n\r\nabc");
  });
  auto client = make_client(server);
  for (int i = 0; i < 3; ++i) CHECK(get(*client, {.key = "a"}).text == "abc");
  CHECK(server.connections() == 3);
}

TEST_CASE("origins of plain URLs") {
  CHECK(plain_origin("http://h:9000/b/k?x=/") == "http://h:9000");
  CHECK(plain_origin("http://[::1]:80/") == "http://[::1]:80");
  CHECK(plain_origin("https://h/") == std::nullopt);
  CHECK(plain_origin("http://u:p@h/") == std::nullopt);
  CHECK(plain_origin("http://") == std::nullopt);
}
