// S3HttpClient: S3Client over HTTP. Retries, re-signing, resumption and checks happen in its operations.
//
// Threads: every method from any thread, except shutdown() and the destructor from a callback.
// Owns: the engine and its threads. The Clock is borrowed (signatures only; delays use the real one).
// Errors: as S3Client says; create() gives kInvalid for options that cannot work.
#pragma once

#include <memory>

#include "base/clock.h"
#include "s3/list_operation.h"
#include "s3/options.h"
#include "s3/s3_client.h"

namespace s3cache::s3 {

class HttpEngine;

class S3HttpClient : public S3Client {
 public:
  static Result<std::unique_ptr<S3HttpClient>> create(S3Options options, const Clock& clock = Clock::real());
  ~S3HttpClient() override;

  RequestId get(GetRequest request, std::shared_ptr<GetSink> sink) override;
  RequestId head(std::string key, Priority priority, HeadCallback done) override;
  RequestId list(ListRequest request, ListCallback done) override;
  RequestId put(PutRequest request, WrittenCallback done) override;
  RequestId copy(CopyRequest request, WrittenCallback done) override;
  RequestId create_upload(UploadRequest request, UploadIdCallback done) override;
  RequestId upload_part(PartRequest request, WrittenCallback done) override;
  RequestId copy_part(PartCopyRequest request, WrittenCallback done) override;
  RequestId complete_upload(CompleteRequest request, WrittenCallback done) override;
  RequestId abort_upload(std::string key, std::string upload_id, StatusCallback done) override;
  RequestId remove(DeleteItem item, StatusCallback done) override;
  RequestId remove_many(std::vector<DeleteItem> items, DeletedCallback done) override;
  RequestId list_uploads(std::string prefix, UploadsCallback done) override;
  bool conditions_supported() const override;
  bool signs_bodies() const override;
  void cancel(RequestId id) override;
  void promote(RequestId id) override;
  Counters counters() const override;
  void shutdown() override;

  // list() with few attempts that also tells how it failed, for check_bucket().
  RequestId probe(ListRequest request, int attempts, ListCallback done, ListFailure failure);
  const S3Options& options() const;
  const Endpoint& endpoint() const;

 private:
  S3HttpClient(S3Options options, Endpoint endpoint, const Clock& clock);

  // In this order: the engine's threads use the context until they are joined.
  std::unique_ptr<ClientContext> context_;
  std::unique_ptr<HttpEngine> engine_;
};

}  // namespace s3cache::s3
