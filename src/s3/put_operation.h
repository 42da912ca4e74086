// PutOperation and PartOperation: a body becomes an object, or a part of one.
// Threads: as HttpTask. Errors: those of S3Client::put and upload_part.
#pragma once

#include "s3/write_operation.h"

namespace s3cache::s3 {

class PutOperation : public WrittenOperation {
 public:
  PutOperation(ClientContext& context, PutRequest request, WrittenCallback done);

 protected:
  std::string what() const override { return "PUT " + key(); }
  const SentHeaders& sent_headers() const override { return request_.headers; }
  Attempt request() override;
  Next finish(ServiceError& why) override;
  // Reads the body on the network thread: only after a lost answer.
  Result<std::string> expected_etag() override;

 private:
  const PutRequest request_;
};

class PartOperation : public WrittenOperation {
 public:
  PartOperation(ClientContext& context, PartRequest request, WrittenCallback done);

 protected:
  std::string what() const override;
  Status check() const override;
  Attempt request() override;
  Next finish(ServiceError& why) override;
  Result<std::string> expected_etag() override { return Error{Code::kInvalid, "a part"}; }

 private:
  const PartRequest request_;
};

// Shared by all verbs of uploads.
Query upload_query(const std::string& upload_id, int part_number);
Status check_part(const std::string& upload_id, int part_number);

}  // namespace s3cache::s3
