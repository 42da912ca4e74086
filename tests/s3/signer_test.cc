// The signer against AWS's published examples; endpoints; header decoders; retry arithmetic.
#include "s3/signer.h"

#include <catch2/catch.hpp>
#include <random>

#include "base/encoding.h"
#include "s3/endpoint.h"
#include "s3/response_headers.h"
#include "s3/retry.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

const Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
constexpr int64_t kMay2013 = 1369353600;    // 20130524T000000Z
constexpr int64_t kSuite2015 = 1440938160;  // 20150830T123600Z

std::string header(const HeaderList& headers, const std::string& name) {
  for (const auto& [n, v] : headers)
    if (n == name) return v;
  return "";
}

std::string signature(const HeaderList& headers) {
  const std::string a = header(headers, "authorization");
  return a.substr(a.find("Signature=") + 10);
}

SignRequest example(std::string uri, std::string query, HeaderList headers = {}) {
  headers.emplace_back("host", "examplebucket.s3.amazonaws.com");
  return {"GET", std::move(uri), std::move(query), std::move(headers), kEmptySha256};
}

}  // namespace

TEST_CASE("SigV4: the S3 examples of AWS") {
  const Signer signer("us-east-1");
  const auto get = signer.sign(example("/test.txt", "", {{"range", "bytes=0-9"}}), kExample, kMay2013);
  CHECK(header(get, "authorization") ==
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  CHECK(header(get, "x-amz-date") == "20130524T000000Z");

  SignRequest put =
      example("/test%24file.text", "",
              {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}});
  put.method = "PUT";
  put.payload_hash = sha256_hex("Welcome to Amazon S3.");
  CHECK(put.payload_hash == "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  CHECK(signature(signer.sign(put, kExample, kMay2013)) ==
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");

  CHECK(signature(signer.sign(example("/", canonical_query({{"lifecycle", ""}})), kExample, kMay2013)) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  CHECK(signature(signer.sign(example("/", canonical_query({{"prefix", "J"}, {"max-keys", "2"}})), kExample,
                              kMay2013)) ==
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("SigV4: get-vanilla of the test suite") {
  const Signer signer("us-east-1", "service");
  const Credentials c{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
  SignRequest r{"GET", "/", "", {{"host", "example.amazonaws.com"}}, kEmptySha256};
  CHECK(signature(signer.sign(r, c, kSuite2015)) ==
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  // Blanks around and inside of values do not count.
  SignRequest padded = r;
  padded.headers[0].second = "  example.amazonaws.com ";
  CHECK(signature(signer.sign(padded, c, kSuite2015)) == signature(signer.sign(r, c, kSuite2015)));
}

TEST_CASE("SigV4: every part of the request is in the signature; the cached key follows day and secret") {
  const Signer signer("us-east-1");
  const SignRequest base = example("/a", "x=1");
  const std::string s = signature(signer.sign(base, kExample, kMay2013));
  CHECK(signature(signer.sign(base, kExample, kMay2013)) == s);
  CHECK(signature(signer.sign(example("/b", "x=1"), kExample, kMay2013)) != s);
  CHECK(signature(signer.sign(example("/a", "x=2"), kExample, kMay2013)) != s);
  CHECK(signature(signer.sign(base, kExample, kMay2013 + 1)) != s);
  CHECK(signature(signer.sign(base, kExample, kMay2013 + 86400)) != s);
  CHECK(signature(signer.sign(base, {kExample.access_key, "other"}, kMay2013)) != s);
  CHECK(signature(Signer("eu-west-1").sign(base, kExample, kMay2013)) != s);
  CHECK(signature(signer.sign(base, kExample, kMay2013)) == s);
  const auto token = signer.sign(base, {kExample.access_key, kExample.secret_key, "tok"}, kMay2013);
  CHECK(header(token, "x-amz-security-token") == "tok");
  CHECK(header(token, "authorization").find("x-amz-date;x-amz-security-token,") != std::string::npos);
  CHECK(signer.sign(base, {}, kMay2013).empty());
}

TEST_CASE("endpoint: styles, ports, base paths") {
  const auto path = Endpoint::parse("http://Host.example:9000/base/", "b", "", true);
  REQUIRE(path.ok());
  CHECK(path->target("a b/c", {}).url == "http://host.example:9000/base/b/a%20b/c");
  CHECK(path->target("", {{"prefix", "a=b"}}).url == "http://host.example:9000/base/b?prefix=a%3Db");
  CHECK(path->host() == "host.example:9000");
  const auto virt = Endpoint::parse("https://s3.example.com:443", "bkt", "", false);
  REQUIRE(virt.ok());
  CHECK(virt->host() == "bkt.s3.example.com");
  CHECK(virt->target("k", {}).canonical_uri == "/k");
  CHECK(virt->target("", {{"list-type", "2"}}).url == "https://bkt.s3.example.com/?list-type=2");
  CHECK(virt->target("/k//l/../m", {}).url == "https://bkt.s3.example.com//k//l/../m");
  CHECK(Endpoint::parse("https://s3.amazonaws.com", "b", "eu-west-1", false)->host() ==
        "b.s3.eu-west-1.amazonaws.com");
  CHECK(Endpoint::parse("https://s3.amazonaws.com", "b", "us-east-1", false)->host() == "b.s3.amazonaws.com");
  CHECK(Endpoint::parse("http://[::1]:80", "B.x", "", true)->host() == "[::1]");
}

TEST_CASE("endpoint: what cannot work is refused with the way out") {
  const auto message = [](const char* url, const char* bucket, bool path_style) {
    const auto e = Endpoint::parse(url, bucket, "", path_style);
    REQUIRE_FALSE(e.ok());
    CHECK(e.is(Code::kInvalid));
    return e.error().message;
  };
  CHECK(message("s3.example.com", "b", true).find("must start with http:// or https://") !=
        std::string::npos);
  CHECK(message("ftp://x", "b", true).find("must start with") != std::string::npos);
  CHECK(message("https://x.example", "Bkt", false).find("use_path_request_style") != std::string::npos);
  CHECK(message("https://x.example", "b.k", false).find("use_path_request_style") != std::string::npos);
  CHECK(message("http://127.0.0.1", "b", false).find("use_path_request_style") != std::string::npos);
  CHECK_FALSE(message("http://u:p@x", "b", true).find("u:p") != std::string::npos);
  for (const char* url : {"http://", "http://:80", "http://x:0", "http://x:99999", "http://x:8a",
                          "http://x?y", "http://[::1", "http://a b", "http://[zz]"})
    message(url, "b", true);
  for (const char* bucket : {"", "a/b", "a b", "a?b"}) message("http://x", bucket, true);
  CHECK(Endpoint::parse("http://x.example", "b.k", "", false).ok());
}

TEST_CASE("canonical queries are sorted after encoding and decode back") {
  CHECK(canonical_query({{"b", "2"}, {"a", "/ +="}, {"a", ""}, {"~", "\xc3\xa9"}}) ==
        "a=&a=%2F%20%2B%3D&b=2&~=%C3%A9");
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 rng(seed);
  const auto e = Endpoint::parse("http://h.example", "b", "", true);
  for (int i = 0; i < 500; ++i) {
    std::string key(1 + rng() % 30, 'x');
    for (char& c : key) c = rng() % 3 == 0 ? "=+ ~/&?%#\"\\"[rng() % 11] : static_cast<char>(rng());
    const auto t = e->target(key, {{"prefix", key}});
    REQUIRE(percent_decode(t.canonical_uri, false) == "/b/" + key);
    REQUIRE(percent_decode(t.query, false) == "prefix=" + key);
    for (const char c : t.url) REQUIRE((c > 0x20 && c < 0x7f));
  }
}

TEST_CASE("header decoders") {
  CHECK(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777);
  CHECK(parse_http_date("Thu, 29 Feb 2024 00:00:00 GMT") == 1709164800);
  for (const char* bad :
       {"", "x", "Sun, 06 Nov 1994", "Sun, 31 Feb 2024 00:00:00 GMT", "Sun, 06 Nov 1994 25:00:00 GMT",
        "Sun, 06 ovN 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"})
    CHECK_FALSE(parse_http_date(bad));
  CHECK(parse_rfc3339("2009-10-12T17:50:30.000Z") == 1255369830);
  CHECK(parse_rfc3339("2009-10-12T19:50:30+02:00") == 1255369830);
  for (const char* bad :
       {"", "2009-10-12", "2009-13-12T17:50:30Z", "2009-10-12T17:50:30", "2009-10-12T17:50:30.Z"})
    CHECK_FALSE(parse_rfc3339(bad));
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("9223372036854775807") == INT64_MAX);
  for (const char* bad : {"", "-1", "+1", "1x", "9223372036854775808", "0x10"}) CHECK_FALSE(parse_size(bad));
  const auto r = parse_content_range("bytes 2-5/10");
  REQUIRE(r);
  CHECK(r->first == 2);
  CHECK(r->last == 5);
  CHECK(r->total == 10);
  for (const char* bad :
       {"", "bytes */10", "bytes 2-5/*", "bytes 5-2/10", "bytes 2-10/10", "bytes -2-5/10", "2-5/10"})
    CHECK_FALSE(parse_content_range(bad));
  CHECK(normalize_etag("\"a-1\"") == "a-1");
  CHECK(normalize_etag("a") == "a");
  CHECK(normalize_etag("W/\"a\"").empty());
  CHECK(normalize_etag("\"a\r\nX: y\"").empty());
}

TEST_CASE("retry delays double up to 20 s and are jittered") {
  const RetryPolicy p(8, 50);
  CHECK(p.bound_ms(1) == 50);
  CHECK(p.bound_ms(2) == 100);
  CHECK(p.bound_ms(9) == 12'800);
  CHECK(p.bound_ms(10) == 20'000);
  CHECK(p.bound_ms(1000) == 20'000);
  int64_t low = INT64_MAX, high = 0;
  for (int i = 0; i < 1000; ++i) {
    const int64_t d = p.delay_ms(5);
    low = std::min(low, d);
    high = std::max(high, d);
  }
  CHECK(low >= 0);
  CHECK(low < 200);
  CHECK(high > 600);
  CHECK(high <= 800);
}

TEST_CASE("SlowDown shrinks the parallelism once a second, success grows it again") {
  FakeClock clock;
  ParallelLimit limit(64, clock);
  CHECK(limit.on_slow_down());
  CHECK(limit.limit() == 44);
  CHECK_FALSE(limit.on_slow_down());
  for (int i = 0; i < 20; ++i) {
    clock.advance_s(2);
    limit.on_slow_down();
  }
  CHECK(limit.limit() == ParallelLimit::kFloor);
  for (int i = 0; i < 4; ++i) limit.on_success();
  CHECK(limit.limit() == 5);
  for (int i = 0; i < 10'000; ++i) limit.on_success();
  CHECK(limit.limit() == 64);
}
