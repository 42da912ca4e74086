#include "s3/upload_operation.h"

#include "base/log.h"
#include "s3/digests.h"

namespace s3cache::s3 {

CreateUploadOperation::CreateUploadOperation(ClientContext& context, UploadRequest request,
                                             UploadIdCallback done)
    : WriteOperation(context), request_(std::move(request)), done_(std::move(done)) {}

Status CreateUploadOperation::check() const {
  if (request_.key.empty()) return Error{Code::kInvalid, "no key"};
  return check_headers(request_.headers);
}

Attempt CreateUploadOperation::request() {
  Attempt a;
  a.method = Method::kPost;
  a.key = request_.key;
  a.query = {{"uploads", ""}};
  a.headers = request_.headers;
  if (use_checksum(request_.crc32c)) a.headers.emplace_back("x-amz-checksum-algorithm", "CRC32C");
  return a;
}

Operation::Next CreateUploadOperation::finish(ServiceError&) {
  auto id = parse_upload_id_xml(answer());
  if (!id.ok()) return fail_corrupt(id.error().message);
  done_(std::move(*id));
  return Next::kDone;
}

CompleteOperation::CompleteOperation(ClientContext& context, CompleteRequest request, WrittenCallback done)
    : WrittenOperation(context, request.key, {request.if_none_match, request.if_match}, std::move(done)),
      request_(std::move(request)) {}

Status CompleteOperation::check() const {
  if (request_.upload_id.empty() || request_.parts.empty())
    return Error{Code::kInvalid, "an upload without id or parts"};
  return WrittenOperation::check();
}

Attempt CompleteOperation::request() {
  Attempt a;
  a.method = Method::kPost;
  a.key = key();
  a.query = {{"uploadId", request_.upload_id}};
  a.headers.emplace_back("content-type", "application/xml");
  body_ = string_body(complete_xml(request_.parts, use_checksum(request_.parts.front().crc32c.has_value())));
  a.body = body_.get();
  a.slow_answer = true;
  return a;
}

Operation::Next CompleteOperation::finish(ServiceError&) {
  const auto result = parse_result_xml(answer());
  if (!result.ok()) return fail_corrupt(result.error().message);
  Written w = from_headers();
  w.etag = result->etag;
  deliver(std::move(w));
  return Next::kDone;
}

Result<std::string> CompleteOperation::expected_etag() {
  std::vector<std::string> etags;
  for (const CompletedPart& p : request_.parts) etags.push_back(p.etag);
  auto etag = multipart_etag(etags);
  if (!etag) return Error{Code::kInvalid, "the ETag of the whole cannot be told from those of the parts"};
  return std::move(*etag);
}

bool CompleteOperation::refused_as_repeated(const ServiceError& why) const {
  return why.code == "NoSuchUpload" || own_condition_failed(why);
}

AbortOperation::AbortOperation(ClientContext& context, std::string key, std::string upload_id,
                               StatusCallback done)
    : WriteOperation(context),
      key_(std::move(key)),
      upload_id_(std::move(upload_id)),
      done_(std::move(done)) {}

Attempt AbortOperation::request() {
  Attempt a;
  a.method = Method::kDelete;
  a.key = key_;
  a.query = {{"uploadId", upload_id_}};
  return a;
}

Operation::Next AbortOperation::finish(ServiceError&) {
  done_({});
  return Next::kDone;
}

void AbortOperation::deliver_error(Error error, const ServiceError&) {
  done_(error.code == Code::kNotFound ? Status() : Status(std::move(error)));
}

ListUploadsOperation::ListUploadsOperation(ClientContext& context, std::string prefix, UploadsCallback done)
    : WriteOperation(context, kMaxAnswer), prefix_(std::move(prefix)), done_(std::move(done)) {}

Attempt ListUploadsOperation::request() {
  Attempt a;
  a.query = {{"uploads", ""}, {"encoding-type", "url"}, {"max-uploads", "1000"}, {"prefix", prefix_}};
  if (!last_.key_marker.empty()) a.query.emplace_back("key-marker", last_.key_marker);
  if (!last_.upload_id_marker.empty()) a.query.emplace_back("upload-id-marker", last_.upload_id_marker);
  return a;
}

Operation::Next ListUploadsOperation::finish(ServiceError&) {
  auto page = parse_uploads_xml(answer());
  if (!page.ok()) return fail_corrupt(page.error().message);
  const bool circle =
      page->key_marker == last_.key_marker && page->upload_id_marker == last_.upload_id_marker;
  if (page->truncated && (circle || page->uploads.empty())) return fail_corrupt("the list does not go on");
  for (ListedUpload& u : page->uploads) uploads_.push_back(std::move(u));
  if (page->truncated && uploads_.size() < kMaxUploads) {
    page->uploads.clear();
    last_ = std::move(*page);
    return Next::kRetryNow;
  }
  if (page->truncated) log::warn("{}: more than {} open uploads", what(), kMaxUploads);
  done_(std::move(uploads_));
  return Next::kDone;
}

}  // namespace s3cache::s3
