// Listings and their XML against a server that lies, and the check of the bucket at the start.
#include <catch2/catch.hpp>

#include "client_fixture.h"
#include "s3/bucket_check.h"
#include "s3/xml.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

std::string result(const std::string& inner) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
         "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" +
         inner + "</ListBucketResult>";
}

std::string contents(const std::string& key, const std::string& size = "1") {
  return "<Contents><Key>" + key +
         "</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>" +
         size + "</Size><StorageClass>STANDARD</StorageClass></Contents>";
}

Result<ListPage> list_answer(const std::string& body, int status = 200) {
  HostileServer server([=](HostileConnection& c, const std::string&, int) { c.answer(status, "", body); });
  auto client = make_client(server);
  return list(*client, {.prefix = "p"});
}

}  // namespace

TEST_CASE("XML: a V2 page") {
  const auto a = parse_list_xml(result(
      "<Name>b</Name><Prefix>d%2F</Prefix><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>a+b/=</NextContinuationToken>" +
      contents("d/a+b%2Bc%00%01%C3%A9", "12345678901") +
      "<CommonPrefixes><Prefix>d/x+y/</Prefix></CommonPrefixes>"));
  REQUIRE(a.ok());
  REQUIRE(a->page.objects.size() == 1);
  const ListedObject& o = a->page.objects[0];
  CHECK(o.key == std::string("d/a b+c\0\x01\xc3\xa9", 11));
  CHECK(o.size == 12345678901);
  CHECK(o.etag == "e");
  CHECK(o.last_modified == 1255369830);
  CHECK(a->page.prefixes == std::vector<std::string>{"d/x y/"});
  CHECK(a->page.truncated);
  CHECK(a->v2_token == "a+b/=");
}

TEST_CASE("XML: a V1 page without a marker goes on behind its last name") {
  const auto a =
      parse_list_xml(result("<IsTruncated>true</IsTruncated>" + contents("a+b") + contents("c&amp;d") +
                            "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"));
  REQUIRE(a.ok());
  CHECK(a->page.objects[0].key == "a+b");
  CHECK(a->v1_marker == "c&d");
  CHECK(a->v2_token.empty());
  const auto marked =
      parse_list_xml(result("<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>"
                            "<NextMarker>x%2Fy</NextMarker>" +
                            contents("a")));
  CHECK(marked->v1_marker == "x/y");
}

TEST_CASE("XML: namespace prefixes, weak ETags, missing dates") {
  const auto a = parse_list_xml(
      "<s3:ListBucketResult xmlns:s3=\"x\"><s3:Contents><s3:Key> k </s3:Key><s3:Size>0</s3:Size>"
      "<s3:ETag>W/\"e\"</s3:ETag></s3:Contents></s3:ListBucketResult>");
  REQUIRE(a.ok());
  CHECK(a->page.objects[0].key == " k ");
  CHECK(a->page.objects[0].etag.empty());
  CHECK(a->page.objects[0].last_modified == 0);
}

TEST_CASE("XML: what makes no sense is corrupt") {
  const std::string deep(100'000, '<');
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "<a>";
  for (const std::string& text :
       {std::string(), std::string("x"), std::string("<ListBucketResult>"), deep, nested,
        std::string("<html></html>"), result(contents("a", "-1")), result(contents("a", "1x")),
        result(contents("a", "")), result(contents("a", "99999999999999999999")), result(contents("")),
        result("<Contents><Key>a</Key></Contents>"),
        result("<EncodingType>url</EncodingType>" + contents("a%")), result(contents("a&#0;b")),
        result(contents("a&#x00;b")), result(contents(std::string("a\0b", 3))),
        result("<CommonPrefixes></CommonPrefixes>"), result("<IsTruncated>true</IsTruncated>"),
        result(contents(std::string(100'000, 'k')))}) {
    INFO(text.substr(0, 200));
    CHECK(parse_list_xml(text).is(Code::kCorrupt));
  }
}

TEST_CASE("XML: errors") {
  const XmlError e = parse_error_xml(
      "<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>m &amp; n</Message>"
      "<Region>eu-west-1</Region><RequestId>r1</RequestId></Error>");
  CHECK(e.code == "AuthorizationHeaderMalformed");
  CHECK(e.message == "m & n");
  CHECK(e.region == "eu-west-1");
  CHECK(e.request_id == "r1");
  CHECK(parse_error_xml("<html>502</html>").code.empty());
  CHECK(parse_error_xml("<Error></Error>").code == "Error");
}

TEST_CASE("a LIST says what it wants and pages on with the token") {
  HostileServer server([](HostileConnection& c, const std::string&, int n) {
    c.answer(
        200, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        result(n == 0 ? "<IsTruncated>true</IsTruncated><NextContinuationToken>t=1</NextContinuationToken>" +
                            contents("p/a")
                      : contents("p/b")));
  });
  auto client = make_client(server);
  const auto first = list(*client, {.prefix = "p/", .start_after = "p/0", .max_keys = 7});
  REQUIRE(first.ok());
  CHECK(first->server_date == 784111777);
  const auto second = list(*client, {.prefix = "p/", .delimiter = false, .continuation = first->next_token});
  REQUIRE(second.ok());
  CHECK_FALSE(second->truncated);
  const auto line = [&](size_t i) { return server.log()[i].substr(0, server.log()[i].find(" HTTP")); };
  CHECK(line(0) ==
        "GET /bkt?delimiter=%2F&encoding-type=url&list-type=2&max-keys=7&prefix=p%2F&start-after=p%2F0");
  CHECK(line(1) ==
        "GET /bkt?continuation-token=t%3D1&encoding-type=url&list-type=2&max-keys=1000&prefix=p%2F");
}

TEST_CASE("a server that refuses V2 is asked by V1, and this is remembered") {
  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    if (r.find("list-type=2") != std::string::npos)
      c.answer(501, "", "<Error><Code>NotImplemented</Code></Error>");
    else if (r.find("marker=") == std::string::npos)
      c.answer(200, "", result("<IsTruncated>true</IsTruncated>" + contents("p/a") + contents("p/b")));
    else
      c.answer(200, "", result(contents("p/c")));
  });
  auto client = make_client(server);
  const auto first = list(*client, {.prefix = "p/"});
  REQUIRE(first.ok());
  const auto second = list(*client, {.prefix = "p/", .continuation = first->next_token});
  REQUIRE(second.ok());
  CHECK(second->objects[0].key == "p/c");
  CHECK(server.requests() == 3);
  CHECK(server.log()[2].find("marker=p%2Fb") != std::string::npos);
}

TEST_CASE("a refusal of both dialects is not remembered as V1") {
  HostileServer server([](HostileConnection& c, const std::string& r, int n) {
    if (n < 2) return void(c.answer(400, "", "<Error><Code>InvalidArgument</Code></Error>"));
    c.answer(r.find("list-type=2") != std::string::npos ? 200 : 400, "", result(contents("a")));
  });
  auto client = make_client(server);
  CHECK(list(*client, {}).is(Code::kInvalid));
  CHECK(list(*client, {}).ok());
}

TEST_CASE("LIST: hostile answers are errors") {
  CHECK(list_answer(result(contents("a")).substr(0, 150)).is(Code::kCorrupt));
  CHECK(list_answer("").is(Code::kCorrupt));
  CHECK(list_answer("<Error><Code>InternalError</Code><Message>m</Message></Error>").is(Code::kUnavailable));
  CHECK(list_answer("<Error><Code>AccessDenied</Code></Error>", 403).is(Code::kAccessDenied));
  CHECK(list_answer("<Error><Code>NoSuchBucket</Code></Error>", 404).is(Code::kUnavailable));
}

TEST_CASE("LIST: an endless answer is refused") {
  HostileServer server([](HostileConnection& c, const std::string&, int) {
    bool go = c.send("HTTP/1.1 200 X\r\n\r\n<ListBucketResult>");
    std::string chunk;
    for (int i = 0; i < 1000; ++i) chunk += contents("key");
    while (go) go = c.send(chunk);
    c.close();
  });
  auto client = make_client(server);
  const auto page = list(*client, {});
  CHECK(page.is(Code::kCorrupt));
  CHECK(client->counters().bytes_received < 20u << 20);
}

TEST_CASE("LIST: a token that leads back to itself is refused") {
  HostileServer server([](HostileConnection& c, const std::string&, int) {
    c.answer(200, "",
             result("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" +
                    contents("a")));
  });
  auto client = make_client(server);
  const auto first = list(*client, {});
  REQUIRE(first.ok());
  CHECK(list(*client, {.continuation = first->next_token}).is(Code::kCorrupt));
}

TEST_CASE("check_bucket says what is wrong and the way out") {
  struct Case {
    int status;
    std::string headers, body;
    Code code;
    std::string part;
  };
  const auto c = GENERATE(values<Case>({
      {404, "", "<Error><Code>NoSuchBucket</Code></Error>", Code::kNotFound, "Bucket or directory not found"},
      {403, "", "<Error><Code>InvalidAccessKeyId</Code></Error>", Code::kAccessDenied, "access key id ****"},
      {404, "", "<Error><Code>XAdminUserNotFound</Code></Error>", Code::kAccessDenied, "access key id ****"},
      {403, "", "<Error><Code>SignatureDoesNotMatch</Code></Error>", Code::kAccessDenied,
       "the secret access key"},
      {403, "", "<Error><Code>AccessDenied</Code></Error>", Code::kAccessDenied, "s3:ListBucket"},
      {400, "", "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-x</Region></Error>",
       Code::kInvalid, "-o endpoint=eu-x"},
      {301, "x-amz-bucket-region: eu-y\r\n", "<Error><Code>PermanentRedirect</Code></Error>", Code::kInvalid,
       "-o endpoint=eu-y"},
  }));
  HostileServer server(
      [&](HostileConnection& k, const std::string&, int) { k.answer(c.status, c.headers, c.body); });
  auto client = make_client(server);
  const BucketCheck check = check_bucket(*client, "");
  REQUIRE_FALSE(check.status.ok());
  INFO(check.status.error().message);
  CHECK(check.status.code() == c.code);
  CHECK(check.status.error().message.find(c.part) != std::string::npos);
  CHECK(check.right_region == (c.part.substr(0, 11) == "-o endpoint" ? c.part.substr(12) : ""));
}

TEST_CASE("check_bucket: network, TLS, and a bucket that is fine") {
  auto nobody = make_client(test_options("http://127.0.0.1:1"));
  const BucketCheck down = check_bucket(*nobody, "");
  CHECK(down.status.is(Code::kUnavailable));
  CHECK(down.status.error().message.find("cannot reach http://127.0.0.1:1: ") == 0);

  HostileServer server([](HostileConnection& c, const std::string& r, int) {
    c.answer(200, "", result(r.find("prefix=full") != std::string::npos ? contents("full/a") : ""));
  });
  auto plain = make_client(server);
  CHECK(check_bucket(*plain, "full/").prefix_exists);
  const BucketCheck empty = check_bucket(*plain, "empty/");
  CHECK(empty.status.ok());
  CHECK_FALSE(empty.prefix_exists);

  HostileServer not_tls([](HostileConnection& c, const std::string&, int) { c.close(); });
  S3Options o = test_options("https" + not_tls.url().substr(4));
  o.http.connect_timeout_s = 1;
  o.http.readwrite_timeout_s = 1;
  auto tls = make_client(o);
  CHECK_FALSE(check_bucket(*tls, "").status.ok());
}
