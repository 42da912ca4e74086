// What FakeS3 and FaultyS3 do with the writing verbs.
#include <catch2/catch.hpp>

#include "base/crc32c.h"
#include "s3/digests.h"
#include "s3/fake_s3.h"
#include "s3/faulty_s3.h"
#include "write_calls.h"

using namespace s3cache;
using namespace s3cache::s3;

namespace {

class BrokenBody : public Body {
 public:
  int64_t size() const override { return 10; }
  Result<size_t> read(int64_t, std::span<std::byte>) override {
    return Error{Code::kIo, "the cache file is gone"};
  }
};

std::string body_of(S3Client& s3, const std::string& key) { return get(s3, {.key = key}).text; }

}  // namespace

TEST_CASE("FakeS3 puts with MD5 ETags, headers and checksums") {
  FakeS3 s3;
  const auto w = put(s3, {.key = "a",
                          .body = string_body("hello"),
                          .headers = {{"x-amz-meta-mode", "33188"}, {"x-amz-acl", "private"}},
                          .crc32c = crc32c(0, "hello", 5)});
  REQUIRE(w.ok());
  CHECK(w->etag == "5d41402abc4b2a76b9719d911017c592");
  CHECK(w->server_date != 0);
  const auto info = head(s3, "a");
  REQUIRE(info->header("x-amz-meta-mode") != nullptr);
  CHECK(info->header("x-amz-acl") == nullptr);
  CHECK(*info->header("content-type") == "binary/octet-stream");
  CHECK(body_of(s3, "a") == "hello");
  CHECK(put(s3, {.key = "a", .body = string_body("x"), .crc32c = 1}).is(Code::kCorrupt));
  CHECK(put(s3, {.key = "a", .body = std::make_shared<BrokenBody>()}).is(Code::kIo));
  CHECK(put(s3, {.key = std::string(1025, 'k')}).is(Code::kNameTooLong));
  CHECK(put(s3, {.key = "a", .headers = {{"x-amz-meta-x", std::string(2048, 'v')}}}).is(Code::kNoSpace));
  CHECK(body_of(s3, "a") == "hello");
  CHECK(put(s3, {.key = "empty"})->etag == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(s3.count(Verb::kPut) == 6);
  CHECK(s3.counters().puts == 6);
}

TEST_CASE("FakeS3 honours the conditions of writes") {
  FakeS3 s3;
  const std::string etag = s3.put("a", "old");
  CHECK(put(s3, {.key = "a", .body = string_body("n"), .if_none_match = true}).is(Code::kExists));
  CHECK(put(s3, {.key = "a", .body = string_body("n"), .if_match = "other"}).is(Code::kStale));
  CHECK(put(s3, {.key = "b", .body = string_body("n"), .if_match = etag}).is(Code::kNotFound));
  CHECK(put(s3, {.key = "b", .body = string_body("n"), .if_none_match = true}).ok());
  CHECK(put(s3, {.key = "a", .body = string_body("new"), .if_match = etag}).ok());
  CHECK(body_of(s3, "a") == "new");
  CHECK(s3.conditions_supported());
  s3.set_conditions(false);
  CHECK(put(s3, {.key = "c", .if_none_match = true}).is(Code::kUnsupported));
  CHECK_FALSE(s3.conditions_supported());
  CHECK(put(s3, {.key = "c"}).ok());
}

TEST_CASE("FakeS3 copies with the source's headers or new ones") {
  FakeS3 s3;
  const std::string etag = s3.put("a", "hello", {{"content-type", "x/y"}, {"x-amz-meta-mode", "1"}});
  const auto w = copy(s3, {.source_key = "a", .key = "b", .source_if_match = etag});
  REQUIRE(w.ok());
  CHECK(w->etag == etag);
  CHECK(w->last_modified != 0);
  CHECK(*head(s3, "b")->header("content-type") == "x/y");
  CHECK(copy(s3,
             {.source_key = "a", .key = "a", .replace_headers = true, .headers = {{"x-amz-meta-mode", "2"}}})
            .ok());
  CHECK(*head(s3, "a")->header("x-amz-meta-mode") == "2");
  CHECK(*head(s3, "a")->header("content-type") == "binary/octet-stream");
  CHECK(copy(s3, {.source_key = "a", .key = "a"}).is(Code::kInvalid));
  CHECK(copy(s3, {.source_key = "zz", .key = "b"}).is(Code::kNotFound));
  CHECK(copy(s3, {.source_key = "a", .key = "b", .source_if_match = "zz"}).is(Code::kStale));
  CHECK(copy(s3, {.source_key = "a", .key = "b", .if_none_match = true}).is(Code::kExists));
  s3.put_pattern("big", 6LL << 30);
  CHECK(copy(s3, {.source_key = "big", .key = "b"}).is(Code::kTooBig));
}

TEST_CASE("FakeS3 makes an object of parts") {
  FakeS3 s3;
  const auto id = create_upload(s3, {.key = "a", .headers = {{"x-amz-meta-mode", "1"}}});
  REQUIRE(id.ok());
  REQUIRE(s3.uploads().size() == 1);
  CHECK(list_uploads(s3, "a")->front().upload_id == *id);
  CHECK(list_uploads(s3, "b")->empty());
  const std::string first(5 << 20, 'x');
  s3.put_pattern("p", 100);
  const auto one = upload_part(s3, {.key = "a", .upload_id = *id, .number = 1, .body = string_body(first)});
  const auto two = copy_part(
      s3, {.key = "a", .upload_id = *id, .number = 2, .source_key = "p", .offset = 10, .length = 20});
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  CHECK(copy_part(s3,
                  {.key = "a", .upload_id = *id, .number = 3, .source_key = "p", .offset = 90, .length = 20})
            .is(Code::kInvalid));
  const CompleteRequest whole{.key = "a", .upload_id = *id, .parts = {{1, one->etag}, {2, two->etag}}};
  CompleteRequest wrong = whole;
  wrong.parts[1].etag = one->etag;
  CHECK(complete_upload(s3, wrong).is(Code::kInvalid));
  wrong = whole;
  std::swap(wrong.parts[0], wrong.parts[1]);
  CHECK(complete_upload(s3, wrong).is(Code::kInvalid));
  s3.put("a", "in the way");
  wrong = whole;
  wrong.if_none_match = true;
  CHECK(complete_upload(s3, wrong).is(Code::kExists));
  const auto w = complete_upload(s3, whole);
  REQUIRE(w.ok());
  CHECK(w->etag == *multipart_etag({one->etag, two->etag}));
  CHECK(w->etag.substr(32) == "-2");
  const auto object = s3.object("a");
  REQUIRE(object);
  CHECK(object->size == (5 << 20) + 20);
  CHECK(object->bytes(5 << 20, 1)[0] == static_cast<char>(FakeS3::pattern_byte(10)));
  CHECK(*head(s3, "a")->header("x-amz-meta-mode") == "1");
  const auto again = complete_upload(s3, whole);
  CHECK(again.is(Code::kNotFound));
  CHECK(again.error().message.find("NoSuchUpload") != std::string::npos);
}

TEST_CASE("FakeS3 refuses small parts and forgets aborted uploads") {
  FakeS3 s3;
  const std::string id = *create_upload(s3, {.key = "a"});
  const auto one = upload_part(s3, {.key = "a", .upload_id = id, .number = 1, .body = string_body("x")});
  const auto two = upload_part(s3, {.key = "a", .upload_id = id, .number = 2, .body = string_body("y")});
  const CompleteRequest whole{.key = "a", .upload_id = id, .parts = {{1, one->etag}, {2, two->etag}}};
  CHECK(complete_upload(s3, whole).is(Code::kInvalid));
  s3.set_min_part(1);
  CHECK(complete_upload(s3, whole).ok());
  const std::string other = *create_upload(s3, {.key = "b"});
  CHECK(abort_upload(s3, "b", other).ok());
  CHECK(abort_upload(s3, "b", other).ok());
  CHECK(upload_part(s3, {.key = "b", .upload_id = other, .number = 1}).is(Code::kNotFound));
  CHECK(s3.uploads().empty());
}

TEST_CASE("FakeS3 deletes, one or many, by version") {
  FakeS3 s3;
  const std::string etag = s3.put("a", "1");
  for (const char* k : {"b", "c", "d"}) s3.put(k, k);
  CHECK(remove(s3, {"a", "other"}).is(Code::kStale));
  CHECK(remove(s3, {"a", etag}).ok());
  CHECK(remove(s3, {"a", ""}).ok());
  s3.set_failure([](const RequestInfo& r) -> std::optional<Error> {
    if (r.verb == Verb::kDelete && r.key == "c") return Error{Code::kAccessDenied, "no"};
    return std::nullopt;
  });
  const auto failures = remove_many(s3, {{"b", ""}, {"c", ""}, {"d", "other"}, {"gone", ""}});
  REQUIRE(failures.ok());
  REQUIRE(failures->size() == 2);
  CHECK(failures->at(0).key == "c");
  CHECK(failures->at(0).error.code == Code::kAccessDenied);
  CHECK(failures->at(1).error.code == Code::kStale);
  CHECK(s3.keys() == std::vector<std::string>{"c", "d"});
  CHECK(remove_many(s3, std::vector<DeleteItem>(1001)).is(Code::kInvalid));
}

TEST_CASE("A write held by hand is done when it is frozen, or not at all when it is cancelled") {
  FakeS3 s3;
  s3.set_manual(true);
  std::promise<Result<Written>> first, second;
  const RequestId id = s3.put({.key = "a", .body = string_body("1")},
                              [&](Result<Written> w) { first.set_value(std::move(w)); });
  const RequestId other = s3.put({.key = "b", .body = string_body("2")},
                                 [&](Result<Written> w) { second.set_value(std::move(w)); });
  REQUIRE(s3.wait_pending(2));
  CHECK(s3.keys().empty());
  CHECK(s3.pending()[0].length == 1);
  s3.freeze(id);
  CHECK(s3.keys() == std::vector<std::string>{"a"});
  s3.cancel(other);
  CHECK(second.get_future().get().is(Code::kCancelled));
  s3.release(id);
  CHECK(first.get_future().get().ok());
  CHECK(s3.keys() == std::vector<std::string>{"a"});
}

TEST_CASE("FaultyS3 loses answers of writes that were done, or refuses them") {
  FakeS3 s3;
  Fault fault{.kind = Fault::Kind::kLostAnswer, .error = {Code::kUnavailable, "reset"}};
  FaultyS3 faulty(s3, [&](const RequestInfo&) { return fault; });
  CHECK(put(faulty, {.key = "a", .body = string_body("1")}).is(Code::kUnavailable));
  CHECK(s3.keys() == std::vector<std::string>{"a"});
  CHECK(copy(faulty, {.source_key = "a", .key = "b"}).is(Code::kUnavailable));
  CHECK(create_upload(faulty, {.key = "c"}).is(Code::kUnavailable));
  CHECK(s3.uploads().size() == 1);
  CHECK(remove_many(faulty, {{"a", ""}}).is(Code::kUnavailable));
  CHECK(s3.keys() == std::vector<std::string>{"b"});
  CHECK(copy(faulty, {.source_key = "gone", .key = "b"}).is(Code::kNotFound));
  fault.kind = Fault::Kind::kError;
  CHECK(remove(faulty, {"b", ""}).is(Code::kUnavailable));
  CHECK(s3.keys() == std::vector<std::string>{"b"});
  fault = {.kind = Fault::Kind::kOtherEtag, .etag = "z"};
  CHECK(put(faulty, {.key = "d"})->etag == "z");
  fault.kind = Fault::Kind::kHold;
  std::promise<Status> held;
  faulty.remove({"d", ""}, [&](Status s) { held.set_value(std::move(s)); });
  CHECK(s3.keys().size() == 2);
  faulty.release_held();
  CHECK(held.get_future().get().ok());
  CHECK(s3.keys().size() == 1);
}
