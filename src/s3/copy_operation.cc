#include "s3/copy_operation.h"

#include "base/encoding.h"
#include "s3/digests.h"
#include "s3/put_operation.h"
#include "s3/xml_writes.h"

namespace s3cache::s3 {

namespace {

void add_source(HeaderList& headers, const ClientContext& context, const std::string& key,
                const std::string& if_match) {
  headers.emplace_back("x-amz-copy-source", "/" + percent_encode(context.endpoint.bucket(), false) + "/" +
                                                percent_encode(key, true));
  if (!if_match.empty()) headers.emplace_back("x-amz-copy-source-if-match", "\"" + if_match + "\"");
}

}  // namespace

CopyOperation::CopyOperation(ClientContext& context, CopyRequest request, WrittenCallback done)
    : WrittenOperation(context, request.key, {request.if_none_match, request.if_match}, std::move(done)),
      request_(std::move(request)) {}

std::string CopyOperation::what() const { return "COPY " + request_.source_key + " to " + key(); }

Attempt CopyOperation::request() {
  Attempt a;
  a.method = Method::kPut;
  a.key = key();
  a.headers = request_.headers;
  add_source(a.headers, context_, request_.source_key, request_.source_if_match);
  a.headers.emplace_back("x-amz-metadata-directive", request_.replace_headers ? "REPLACE" : "COPY");
  a.slow_answer = true;
  return a;
}

Operation::Next CopyOperation::finish(ServiceError&) {
  const auto result = parse_result_xml(answer());
  if (!result.ok()) return fail_corrupt(result.error().message);
  Written w = from_headers();
  w.etag = result->etag;
  w.last_modified = result->last_modified;
  deliver(std::move(w));
  return Next::kDone;
}

bool CopyOperation::own_condition_failed(const ServiceError& why) const {
  if (!WrittenOperation::own_condition_failed(why)) return false;
  if (request_.source_if_match.empty()) return true;
  // Two conditions were sent: the server's word for the failed one is "If-None-Match", "If-Match" or
  // "x-amz-copy-source-If-Match"; some say "If-Match" for the source's, too.
  if (why.condition.find("copy-source") != std::string::npos) return false;
  return !condition().if_none_match || why.condition != "If-Match";
}

Result<std::string> CopyOperation::expected_etag() {
  if (is_md5_etag(request_.source_if_match)) return request_.source_if_match;
  return Error{Code::kInvalid, "the ETag of the copy cannot be told"};
}

PartCopyOperation::PartCopyOperation(ClientContext& context, PartCopyRequest request, WrittenCallback done)
    : WrittenOperation(context, request.key, {}, std::move(done)), request_(std::move(request)) {}

std::string PartCopyOperation::what() const {
  return "COPY " + request_.source_key + " to part " + std::to_string(request_.number) + " of " + key();
}

Status PartCopyOperation::check() const {
  if (Status s = check_part(request_.upload_id, request_.number); !s.ok()) return s;
  if (request_.offset < 0 || request_.length < 1 || request_.length > INT64_MAX - request_.offset)
    return Error{Code::kInvalid, "not a range of an object"};
  return WrittenOperation::check();
}

Attempt PartCopyOperation::request() {
  Attempt a;
  a.method = Method::kPut;
  a.key = key();
  a.query = upload_query(request_.upload_id, request_.number);
  add_source(a.headers, context_, request_.source_key, request_.source_if_match);
  a.headers.emplace_back("x-amz-copy-source-range",
                         "bytes=" + std::to_string(request_.offset) + "-" +
                             std::to_string(request_.offset + request_.length - 1));
  a.slow_answer = true;
  return a;
}

Operation::Next PartCopyOperation::finish(ServiceError&) {
  const auto result = parse_result_xml(answer());
  if (!result.ok()) return fail_corrupt(result.error().message);
  Written w = from_headers();
  w.etag = result->etag;
  w.last_modified = result->last_modified;
  w.crc32c = result->crc32c;
  deliver(std::move(w));
  return Next::kDone;
}

}  // namespace s3cache::s3
