#include "s3/role_credentials.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "client_fixture.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

std::string keys(const std::string& id, const std::string& expiry = "2033-05-18T03:33:20Z") {
  return R"({"Code":"Success","AccessKeyId":")" + id +
         R"(","SecretAccessKey":"s","Token":"t","Expiration":")" + expiry + "\"}";
}

bool asks(const std::string& request, const std::string& line) {
  return request.find(line + " HTTP/1.1\r\n") == 0;
}

}  // namespace

TEST_CASE("instance role: v2 token, role name, keys") {
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    const bool token = request_header(r, "x-aws-ec2-metadata-token") == "tok";
    if (asks(r, "PUT /latest/api/token")) return void(c.answer(200, "", "tok"));
    if (!token) return void(c.answer(401, "", ""));
    if (asks(r, "GET /latest/meta-data/iam/security-credentials/"))
      return void(c.answer(200, "", "my-role\n"));
    if (asks(r, "GET /latest/meta-data/iam/security-credentials/my-role"))
      return void(c.answer(200, "", keys("AKID1")));
    c.answer(404, "", "");
  });
  RoleOptions o;
  o.instance_url = server.url();
  const auto c = fetch_role_credentials(o);
  REQUIRE(c.ok());
  CHECK(c->access_key == "AKID1");
  CHECK(c->secret_key == "s");
  CHECK(c->session_token == "t");
  CHECK(c->expiry == 2'000'000'000);
  o.role = "other";
  CHECK(fetch_role_credentials(o).is(Code::kAccessDenied));
}

TEST_CASE("instance role: v1 where v2 is unknown; no role at all") {
  std::atomic<int> role_status{200};
  HostileServer server([&](HostileConnection& c, const std::string& r, int) {
    if (asks(r, "GET /latest/meta-data/iam/security-credentials/"))
      return void(c.answer(role_status, "", "r"));
    if (asks(r, "GET /latest/meta-data/iam/security-credentials/r"))
      return void(c.answer(200, "", keys("AKID1")));
    c.answer(404, "", "");
  });
  RoleOptions o;
  o.instance_url = server.url();
  CHECK(fetch_role_credentials(o).ok());
  o.v1_only = true;
  CHECK(fetch_role_credentials(o).ok());
  role_status = 404;
  CHECK(fetch_role_credentials(o).is(Code::kAccessDenied));
}

TEST_CASE("container role: hostile answers") {
  std::string body;
  HostileServer server([&](HostileConnection& c, const std::string&, int) { c.answer(200, "", body); });
  RoleOptions o;
  o.container = true;
  CHECK(fetch_role_credentials(o).is(Code::kAccessDenied));
  o.container_url = server.url();
  o.container_path = "/v2/x";
  body = keys("AKID2");
  CHECK(fetch_role_credentials(o)->access_key == "AKID2");
  for (const char* bad :
       {"", "{", "[]", "null", "{\"AccessKeyId\":1,\"SecretAccessKey\":\"s\"}", "{\"AccessKeyId\":\"a\"}"}) {
    body = bad;
    INFO(bad);
    CHECK(fetch_role_credentials(o).is(Code::kCorrupt));
  }
  body = std::string(100'000, ' ');
  CHECK_FALSE(fetch_role_credentials(o).ok());
}

TEST_CASE("container role: the token that says which container asks") {
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    const std::string token = request_header(r, "authorization");
    c.answer(token == "tok en" || token == "from-file" ? 200 : 401, "", keys("AKID6"));
  });
  RoleOptions o;
  o.container = true;
  o.container_url = server.url();
  o.container_path = "/v1/credentials";
  CHECK(fetch_role_credentials(o).is(Code::kAccessDenied));
  o.container_token = "tok en";
  CHECK(fetch_role_credentials(o).ok());
  o.container_token = "x\r\nx-evil: 1";
  CHECK(fetch_role_credentials(o).is(Code::kAccessDenied));
  CHECK(server.requests() == 2);
  char path[] = "/tmp/s3cache-token-XXXXXX";
  const UniqueFd fd(mkstemp(path));
  REQUIRE(write(fd.get(), "from-file\n", 10) == 10);
  o.container_token_file = path;
  CHECK(fetch_role_credentials(o).ok());
  unlink(path);
  CHECK(fetch_role_credentials(o).is(Code::kAccessDenied));
}

TEST_CASE("role keys that expired are refused, not used") {
  FakeClock clock;  // 2023-11-14T22:13:20Z
  HostileServer server([](HostileConnection& c, const std::string&, int) {
    c.answer(200, "", keys("AKID3", "2023-11-14T22:13:30Z"));
  });
  RoleOptions o;
  o.container = true;
  o.container_url = server.url();
  o.container_path = "/x";
  auto provider = RoleCredentials::create(o, clock);
  REQUIRE(provider.ok());
  CHECK((*provider)->get()->access_key == "AKID3");
  clock.advance_s(11);
  CHECK((*provider)->get().is(Code::kAccessDenied));
}

TEST_CASE("role keys are renewed before they expire") {
  FakeClock clock;  // 2023-11-14T22:13:20Z
  HostileServer server([](HostileConnection& c, const std::string&, int n) {
    c.answer(200, "", n == 0 ? keys("AKID4", "2023-11-14T23:13:20Z") : keys("AKID5", "2023-11-15T23:13:20Z"));
  });
  RoleOptions o;
  o.container = true;
  o.container_url = server.url();
  o.container_path = "/x";
  auto provider = RoleCredentials::create(o, clock);
  REQUIRE(provider.ok());
  CHECK((*provider)->get()->access_key == "AKID4");
  clock.advance_s(3400);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((*provider)->get()->access_key == "AKID4" && std::chrono::steady_clock::now() < give_up)
    std::this_thread::yield();
  CHECK((*provider)->get()->access_key == "AKID5");
  CHECK(server.requests() == 2);
}
