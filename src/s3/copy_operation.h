// CopyOperation and PartCopyOperation: the server copies an object, or a range of one into a part.
//
// Both may answer 200 and then an <Error>. Threads: as HttpTask. Errors: those of S3Client::copy and
// copy_part.
#pragma once

#include "s3/write_operation.h"

namespace s3cache::s3 {

class CopyOperation : public WrittenOperation {
 public:
  CopyOperation(ClientContext& context, CopyRequest request, WrittenCallback done);

 protected:
  std::string what() const override;
  const SentHeaders& sent_headers() const override { return request_.headers; }
  Attempt request() override;
  Next finish(ServiceError& why) override;
  bool own_condition_failed(const ServiceError& why) const override;
  Result<std::string> expected_etag() override;

 private:
  const CopyRequest request_;
};

class PartCopyOperation : public WrittenOperation {
 public:
  PartCopyOperation(ClientContext& context, PartCopyRequest request, WrittenCallback done);

 protected:
  std::string what() const override;
  Status check() const override;
  Attempt request() override;
  Next finish(ServiceError& why) override;
  Result<std::string> expected_etag() override { return Error{Code::kInvalid, "a part"}; }

 private:
  const PartCopyRequest request_;
};

}  // namespace s3cache::s3
