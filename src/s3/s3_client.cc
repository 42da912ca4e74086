#include "s3/s3_client.h"

namespace s3cache::s3 {

namespace {

Error read_only() { return Error{Code::kUnsupported, "this S3 client does not write"}; }

}  // namespace

const std::string* ObjectInfo::header(std::string_view name) const {
  for (const auto& [n, value] : headers)
    if (n == name) return &value;
  return nullptr;
}

RequestId S3Client::put(PutRequest, WrittenCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::copy(CopyRequest, WrittenCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::create_upload(UploadRequest, UploadIdCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::upload_part(PartRequest, WrittenCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::copy_part(PartCopyRequest, WrittenCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::complete_upload(CompleteRequest, WrittenCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::abort_upload(std::string, std::string, StatusCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::remove(DeleteItem, StatusCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::remove_many(std::vector<DeleteItem>, DeletedCallback done) {
  done(read_only());
  return 1;
}

RequestId S3Client::list_uploads(std::string, UploadsCallback done) {
  done(read_only());
  return 1;
}

}  // namespace s3cache::s3
