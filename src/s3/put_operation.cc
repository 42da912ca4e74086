#include "s3/put_operation.h"

#include "s3/digests.h"
#include "s3/xml_writes.h"

namespace s3cache::s3 {

namespace {

void add_checksum(HeaderList& headers, uint32_t crc) {
  headers.emplace_back("x-amz-checksum-crc32c", crc32c_text(crc));
  headers.emplace_back("x-amz-sdk-checksum-algorithm", "CRC32C");
}

// A null body is an empty one.
template <class Request>
Request with_body(Request request) {
  if (!request.body) request.body = string_body({});
  return request;
}

}  // namespace

Query upload_query(const std::string& upload_id, int part_number) {
  return {{"partNumber", std::to_string(part_number)}, {"uploadId", upload_id}};
}

Status check_part(const std::string& upload_id, int part_number) {
  if (upload_id.empty()) return Error{Code::kInvalid, "no upload id"};
  if (part_number < 1 || part_number > 10'000) return Error{Code::kInvalid, "not a part number"};
  return {};
}

PutOperation::PutOperation(ClientContext& context, PutRequest request, WrittenCallback done)
    : WrittenOperation(context, request.key, {request.if_none_match, request.if_match}, std::move(done)),
      request_(with_body(std::move(request))) {}

Attempt PutOperation::request() {
  Attempt a;
  a.method = Method::kPut;
  a.key = key();
  a.headers = request_.headers;
  if (use_checksum(request_.crc32c.has_value())) add_checksum(a.headers, *request_.crc32c);
  a.body = request_.body.get();
  a.sha256_hex = request_.sha256_hex;
  return a;
}

Operation::Next PutOperation::finish(ServiceError&) {
  Written w = from_headers();
  if (checksum_sent()) w.crc32c = request_.crc32c;
  deliver(std::move(w));
  return Next::kDone;
}

Result<std::string> PutOperation::expected_etag() { return md5_hex(*request_.body); }

PartOperation::PartOperation(ClientContext& context, PartRequest request, WrittenCallback done)
    : WrittenOperation(context, request.key, {}, std::move(done)), request_(with_body(std::move(request))) {}

std::string PartOperation::what() const {
  return "PUT part " + std::to_string(request_.number) + " of " + key();
}

Status PartOperation::check() const {
  if (Status s = check_part(request_.upload_id, request_.number); !s.ok()) return s;
  return WrittenOperation::check();
}

Attempt PartOperation::request() {
  Attempt a;
  a.method = Method::kPut;
  a.key = key();
  a.query = upload_query(request_.upload_id, request_.number);
  if (use_checksum(request_.crc32c.has_value())) add_checksum(a.headers, *request_.crc32c);
  a.body = request_.body.get();
  a.sha256_hex = request_.sha256_hex;
  return a;
}

Operation::Next PartOperation::finish(ServiceError&) {
  Written w = from_headers();
  if (checksum_sent()) w.crc32c = request_.crc32c;
  deliver(std::move(w));
  return Next::kDone;
}

}  // namespace s3cache::s3
