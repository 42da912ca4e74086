// The verbs of a multipart upload as a whole: create, complete, abort, and the list of open ones.
//
// Complete may answer 200 with blanks while the server works, then with an <Error>. Threads: as HttpTask.
// Errors: those of S3Client's verbs.
#pragma once

#include "s3/write_operation.h"
#include "s3/xml_writes.h"

namespace s3cache::s3 {

class CreateUploadOperation : public WriteOperation {
 public:
  CreateUploadOperation(ClientContext& context, UploadRequest request, UploadIdCallback done);

 protected:
  std::string what() const override { return "create upload of " + request_.key; }
  Status check() const override;
  Attempt request() override;
  Next finish(ServiceError& why) override;
  void deliver_error(Error error, const ServiceError&) override { done_(std::move(error)); }

 private:
  const UploadRequest request_;
  const UploadIdCallback done_;
};

class CompleteOperation : public WrittenOperation {
 public:
  CompleteOperation(ClientContext& context, CompleteRequest request, WrittenCallback done);

 protected:
  std::string what() const override { return "complete upload of " + key(); }
  Status check() const override;
  Attempt request() override;
  Next finish(ServiceError& why) override;
  Result<std::string> expected_etag() override;
  // The upload is gone once it is complete.
  bool refused_as_repeated(const ServiceError& why) const override;

 private:
  const CompleteRequest request_;
  std::shared_ptr<Body> body_;  // of the running attempt
};

class AbortOperation : public WriteOperation {
 public:
  AbortOperation(ClientContext& context, std::string key, std::string upload_id, StatusCallback done);

 protected:
  std::string what() const override { return "abort upload of " + key_; }
  Attempt request() override;
  Next finish(ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;

 private:
  const std::string key_;
  const std::string upload_id_;
  const StatusCallback done_;
};

// All pages of the list, up to kMaxUploads.
class ListUploadsOperation : public WriteOperation {
 public:
  static constexpr size_t kMaxUploads = 100'000;

  ListUploadsOperation(ClientContext& context, std::string prefix, UploadsCallback done);

 protected:
  std::string what() const override { return "list uploads of " + prefix_; }
  Attempt request() override;
  Next finish(ServiceError& why) override;
  void deliver_error(Error error, const ServiceError&) override { done_(std::move(error)); }

 private:
  // 1,000 keys of 1,024 bytes, each byte percent-encoded, with a kilobyte of markup and owners each.
  static constexpr size_t kMaxAnswer = 16 * 1024 * 1024;

  const std::string prefix_;
  const UploadsCallback done_;
  std::vector<ListedUpload> uploads_;
  UploadsPage last_;  // its markers only
};

}  // namespace s3cache::s3
