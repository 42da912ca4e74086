// Copies and multipart uploads against a server that says 200 and fails later, loses answers, or lies.
#include <catch2/catch.hpp>

#include "s3/digests.h"
#include "s3/xml_writes.h"
#include "script.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

const std::string kMd5 = "5d41402abc4b2a76b9719d911017c592";
const std::string kCopied =
    "<CopyObjectResult><ETag>&quot;" + kMd5 +
    "&quot;</ETag><LastModified>2009-10-12T17:50:30.000Z</LastModified></CopyObjectResult>";
const std::string kComplete =
    "<CompleteMultipartUploadResult><ETag>\"whole-2\"</ETag></CompleteMultipartUploadResult>";

std::string upload_xml(const std::string& key, const std::string& id) {
  return "<Upload><Key>" + key + "</Key><UploadId>" + id +
         "</UploadId><Initiated>2009-10-12T17:50:30.000Z</Initiated></Upload>";
}

std::string uploads_xml(const std::string& inside) {
  return "<ListMultipartUploadsResult>" + inside + "</ListMultipartUploadsResult>";
}

}  // namespace

TEST_CASE("a copy names its source, its condition and its directive") {
  Script s({{200, "Date: Sun, 06 Nov 1994 08:50:00 GMT\r\n", kCopied}});
  const auto w = copy(*s.client, {.source_key = "dir/a b%+", .key = "b", .source_if_match = "v1"});
  REQUIRE(w.ok());
  CHECK(w->etag == kMd5);
  CHECK(w->last_modified == 1255369830);
  CHECK(w->server_date == 784111800);
  CHECK(s.first_line(0) == "PUT /bkt/b HTTP/1.1");
  CHECK(s.header(0, "x-amz-copy-source") == "/bkt/dir/a%20b%25%2B");
  CHECK(s.header(0, "x-amz-copy-source-if-match") == "\"v1\"");
  CHECK(s.header(0, "x-amz-metadata-directive") == "COPY");
  CHECK(s.header(0, "content-length") == "0");
  CHECK(copy(*s.client,
             {.source_key = "a", .key = "a", .replace_headers = true, .headers = {{"x-amz-meta-mode", "1"}}})
            .ok());
  CHECK(s.header(1, "x-amz-metadata-directive") == "REPLACE");
  CHECK(s.header(1, "x-amz-meta-mode") == "1");
  CHECK(s.client->counters().copies == 2);
}

TEST_CASE("200 with an <Error> is an error, tried again if that can help") {
  const std::string s3_code = GENERATE("InternalError", "SlowDown", "OperationAborted");
  Script s({{200, {}, error_xml(s3_code)}, {200, {}, kCopied}});
  CHECK(copy(*s.client, {.source_key = "a", .key = "b"}).ok());
  CHECK(s.server.requests() == 2);
  Script for_ever({{200, {}, "\n \n" + error_xml(s3_code)}});
  const auto w = copy(*for_ever.client, {.source_key = "a", .key = "b"});
  CHECK(w.is(Code::kUnavailable));
  CHECK(message_of(w).find(s3_code) != std::string::npos);
  CHECK(for_ever.server.requests() == 3);
  Script refused({{200, {}, error_xml("AccessDenied")}});
  CHECK(copy(*refused.client, {.source_key = "a", .key = "b"}).is(Code::kAccessDenied));
  CHECK(refused.server.requests() == 1);
}

TEST_CASE("a copy that was not finished, or is no answer at all") {
  Script nonsense({{200, {}, "<CopyObjectResult>"}});
  CHECK(copy(*nonsense.client, {.source_key = "a", .key = "b"}).is(Code::kCorrupt));
  Script other({{200, {}, "<html><body>Welcome</body></html>"}});
  CHECK(copy(*other.client, {.source_key = "a", .key = "b"}).is(Code::kCorrupt));
  Script empty({{200, {}, ""}});
  CHECK(copy(*empty.client, {.source_key = "a", .key = "b"}).is(Code::kCorrupt));
  CHECK(empty.client->counters().errors == 1);
  Script endless({{200, {}, std::string(100'000, ' ') + kCopied}});
  CHECK(copy(*endless.client, {.source_key = "a", .key = "b"}).is(Code::kCorrupt));
  HostileServer server([](HostileConnection& c, const std::string&, int n) {
    if (n == 0) {
      c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + kCopied);
      c.close();
    } else {
      c.answer(200, {}, kCopied);
    }
  });
  auto client = make_client(server);
  CHECK(copy(*client, {.source_key = "a", .key = "b"}).ok());
  CHECK(server.requests() == 2);
}

TEST_CASE("a copy says which of its conditions failed") {
  const auto [condition, code] = GENERATE(table<std::string, Code>({
      {"<Condition>If-None-Match</Condition>", Code::kExists},
      {"<Condition>x-amz-copy-source-If-Match</Condition>", Code::kStale},
      {"<Condition>If-Match</Condition>", Code::kStale},
      {"", Code::kExists},
  }));
  INFO(condition);
  Script s({{412, {}, error_xml("PreconditionFailed", "m", condition)}});
  CHECK(copy(*s.client, {.source_key = "a", .key = "b", .source_if_match = "v1", .if_none_match = true})
            .is(code));
  CHECK(copy(*s.client, {.source_key = "a", .key = "b", .source_if_match = "v1"}).is(Code::kStale));
}

TEST_CASE("a source that is too large for one copy is too big, not invalid") {
  const std::string text =
      "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120";
  Script s({{400, {}, error_xml("InvalidRequest", text)}});
  CHECK(copy(*s.client, {.source_key = "a", .key = "b"}).is(Code::kTooBig));
}

TEST_CASE("an upload is created, fed from another object, and completed") {
  Script s(
      {{200, {}, "<InitiateMultipartUploadResult><UploadId>id/1+</UploadId></InitiateMultipartUploadResult>"},
       {200,
        {},
        "<CopyPartResult><ETag>\"" + kMd5 +
            "\"</ETag><ChecksumCRC32C>mnG7TA==</ChecksumCRC32C></CopyPartResult>"},
       {200, {}, kComplete}});
  const auto id =
      create_upload(*s.client, {.key = "a", .headers = {{"x-amz-meta-mode", "1"}}, .crc32c = true});
  REQUIRE(id.ok());
  CHECK(*id == "id/1+");
  CHECK(s.first_line(0) == "POST /bkt/a?uploads= HTTP/1.1");
  CHECK(s.header(0, "x-amz-checksum-algorithm") == "CRC32C");
  CHECK(s.header(0, "x-amz-meta-mode") == "1");
  CHECK(s.header(0, "content-length") == "0");
  const auto part = copy_part(*s.client, {"a", *id, 2, "src", 100, 50, "v1"});
  REQUIRE(part.ok());
  CHECK(part->crc32c == 0x9a71bb4c);
  CHECK(s.first_line(1) == "PUT /bkt/a?partNumber=2&uploadId=id%2F1%2B HTTP/1.1");
  CHECK(s.header(1, "x-amz-copy-source-range") == "bytes=100-149");
  CHECK(s.header(1, "x-amz-copy-source-if-match") == "\"v1\"");
  const auto w =
      complete_upload(*s.client, {.key = "a",
                                  .upload_id = *id,
                                  .parts = {{1, "e<1>", 0x9a71bb4c}, {2, part->etag, part->crc32c}},
                                  .if_none_match = true});
  REQUIRE(w.ok());
  CHECK(w->etag == "whole-2");
  CHECK(s.first_line(2) == "POST /bkt/a?uploadId=id%2F1%2B HTTP/1.1");
  CHECK(s.header(2, "if-none-match") == "*");
  const std::string sent = s.body(2);
  CHECK(sent.find(
            "<Part><PartNumber>1</PartNumber><ETag>&quot;e&lt;1&gt;&quot;</ETag><ChecksumCRC32C>mnG7TA==") !=
        std::string::npos);
  CHECK(s.header(2, "x-amz-content-sha256") == sha256_hex(std::string_view(sent)));
  CHECK(s.client->counters().completes == 1);
}

TEST_CASE("Complete may be kept alive by blanks, and then succeed or fail") {
  const bool good = GENERATE(true, false);
  HostileServer server([good](HostileConnection& c, const std::string&, int n) {
    c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 5; ++i) c.send("1\r\n \r\n");
    const std::string body =
        good || n > 0 ? "<?xml version=\"1.0\"?>" + kComplete : "\n" + error_xml("InternalError");
    char size[16];
    snprintf(size, sizeof size, "%zx\r\n", body.size());
    c.send(size + body + "\r\n0\r\n\r\n");
  });
  auto client = make_client(server);
  const auto w = complete_upload(*client, {.key = "a", .upload_id = "u", .parts = {{1, "e"}}});
  INFO(message_of(w));
  CHECK(w.ok());
  CHECK(server.requests() == (good ? 1 : 2));
}

TEST_CASE("a Complete whose answer was lost is looked at") {
  const std::vector<CompletedPart> parts = {{1, md5_hex("a")}, {2, md5_hex("b")}};
  const CompleteRequest r{.key = "a", .upload_id = "u", .parts = parts};
  const std::string whole = *multipart_etag({parts[0].etag, parts[1].etag});
  const Answer lost{.lost = true};
  const Answer unknown{404, {}, error_xml("NoSuchUpload")};
  Script ours({lost, unknown, {200, "ETag: \"" + whole + "\"\r\n"}});
  const auto w = complete_upload(*ours.client, r);
  REQUIRE(w.ok());
  CHECK(w->etag == whole);
  CHECK(ours.first_line(2) == "HEAD /bkt/a HTTP/1.1");
  Script failed_first({{500, {}, error_xml("InternalError")}, unknown, {200, "ETag: \"" + whole + "\"\r\n"}});
  CHECK(complete_upload(*failed_first.client, r).ok());
  Script theirs({lost, unknown, {200, "ETag: \"other\"\r\n"}});
  const auto other = complete_upload(*theirs.client, r);
  CHECK(other.is(Code::kNotFound));
  CHECK(message_of(other).find("NoSuchUpload") != std::string::npos);
  Script gone({lost, unknown, {404}});
  CHECK(complete_upload(*gone.client, r).is(Code::kNotFound));
  // ETags that are no MD5s tell nothing of the whole.
  CompleteRequest odd = r;
  odd.parts[1].etag = "not-an-md5";
  Script untold({lost, unknown});
  const auto u = complete_upload(*untold.client, odd);
  CHECK(u.is(Code::kNotFound));
  CHECK(message_of(u).find("may have done it: the ETag of the whole cannot be told") != std::string::npos);
  CHECK(untold.server.requests() == 2);
  Script plain({unknown});
  const auto p = complete_upload(*plain.client, r);
  CHECK(p.is(Code::kNotFound));
  CHECK(message_of(p).find("may have done") == std::string::npos);
  CHECK(plain.server.requests() == 1);
  CHECK(complete_upload(*plain.client, {.key = "a", .upload_id = "u"}).is(Code::kInvalid));
}

TEST_CASE("upload ids that cannot be are refused") {
  const std::string inside =
      GENERATE("", "<UploadId></UploadId>", "<UploadId>a b</UploadId>", "<Uploadid>x</Uploadid>");
  Script s({{200, {}, "<InitiateMultipartUploadResult>" + inside + "</InitiateMultipartUploadResult>"}});
  CHECK(create_upload(*s.client, {.key = "a"}).is(Code::kCorrupt));
  CHECK(parse_upload_id_xml("<InitiateMultipartUploadResult><UploadId>" + std::string(3000, 'x') +
                            "</UploadId></InitiateMultipartUploadResult>")
            .is(Code::kCorrupt));
}

TEST_CASE("aborting an upload nobody knows is fine") {
  Script s({{204}, {404, {}, error_xml("NoSuchUpload")}, {403, {}, error_xml("AccessDenied")}});
  CHECK(abort_upload(*s.client, "a", "u").ok());
  CHECK(s.first_line(0) == "DELETE /bkt/a?uploadId=u HTTP/1.1");
  CHECK(abort_upload(*s.client, "a", "u").ok());
  CHECK(abort_upload(*s.client, "a", "u").is(Code::kAccessDenied));
}

TEST_CASE("the list of uploads is read to its end") {
  Script s({{200,
             {},
             uploads_xml("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" +
                         upload_xml("a%20b", "1") +
                         "<NextKeyMarker>a%20b</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>")},
            {503},
            {200, {}, uploads_xml("<IsTruncated>false</IsTruncated>" + upload_xml("c+d", "2"))}});
  const auto all = list_uploads(*s.client, "p/");
  REQUIRE(all.ok());
  REQUIRE(all->size() == 2);
  CHECK(all->at(0).key == "a b");
  CHECK(all->at(0).initiated == 1255369830);
  CHECK(all->at(1).key == "c+d");
  CHECK(s.first_line(0).find("prefix=p%2F&uploads= ") != std::string::npos);
  CHECK(s.first_line(2).find("key-marker=a%20b&max-uploads=1000&prefix=p%2F&upload-id-marker=1") !=
        std::string::npos);
}

TEST_CASE("lists of uploads that go round, say nothing or make no sense") {
  const std::string page = GENERATE_COPY(
      uploads_xml("<IsTruncated>true</IsTruncated>" + upload_xml("a", "1") +
                  "<NextKeyMarker>a</NextKeyMarker>"),
      uploads_xml("<IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker>"),
      uploads_xml("<IsTruncated>true</IsTruncated>" + upload_xml("a", "1")), uploads_xml(upload_xml("", "1")),
      uploads_xml(upload_xml("a", "")), std::string("<ListBucketResult/>"), std::string("x"));
  Script s({{200, {}, page}});
  CHECK(list_uploads(*s.client, "").is(Code::kCorrupt));
  CHECK(s.server.requests() <= 2);
}
