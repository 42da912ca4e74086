// The writing verbs of S3HttpClient: each call becomes an operation.
#include "s3/copy_operation.h"
#include "s3/delete_operation.h"
#include "s3/failing_task.h"
#include "s3/http_engine.h"
#include "s3/put_operation.h"
#include "s3/s3_http_client.h"
#include "s3/upload_operation.h"

namespace s3cache::s3 {

namespace {

template <class Operation, class Request, class Callback>
RequestId send(ClientContext& context, std::atomic<uint64_t>& calls, Request request, Callback done) {
  calls.fetch_add(1, std::memory_order_relaxed);
  const Priority priority = request.priority;
  return context.engine->submit(std::make_shared<Operation>(context, std::move(request), std::move(done)),
                                priority);
}

}  // namespace

RequestId S3HttpClient::put(PutRequest request, WrittenCallback done) {
  return send<PutOperation>(*context_, context_->puts, std::move(request), std::move(done));
}

RequestId S3HttpClient::copy(CopyRequest request, WrittenCallback done) {
  return send<CopyOperation>(*context_, context_->copies, std::move(request), std::move(done));
}

RequestId S3HttpClient::create_upload(UploadRequest request, UploadIdCallback done) {
  return send<CreateUploadOperation>(*context_, context_->uploads, std::move(request), std::move(done));
}

RequestId S3HttpClient::upload_part(PartRequest request, WrittenCallback done) {
  return send<PartOperation>(*context_, context_->parts, std::move(request), std::move(done));
}

RequestId S3HttpClient::copy_part(PartCopyRequest request, WrittenCallback done) {
  return send<PartCopyOperation>(*context_, context_->part_copies, std::move(request), std::move(done));
}

RequestId S3HttpClient::complete_upload(CompleteRequest request, WrittenCallback done) {
  return send<CompleteOperation>(*context_, context_->completes, std::move(request), std::move(done));
}

RequestId S3HttpClient::abort_upload(std::string key, std::string upload_id, StatusCallback done) {
  context_->aborts.fetch_add(1, std::memory_order_relaxed);
  return engine_->submit(
      std::make_shared<AbortOperation>(*context_, std::move(key), std::move(upload_id), std::move(done)),
      Priority::kForeground);
}

RequestId S3HttpClient::remove(DeleteItem item, StatusCallback done) {
  context_->deletes.fetch_add(1, std::memory_order_relaxed);
  return engine_->submit(std::make_shared<DeleteOperation>(*context_, std::move(item), std::move(done)),
                         Priority::kForeground);
}

RequestId S3HttpClient::remove_many(std::vector<DeleteItem> items, DeletedCallback done) {
  const bool none = items.empty();
  if (!none && items.size() <= DeleteBatch::kMaxItems)
    return DeleteBatch::start(*context_, std::move(items), std::move(done));
  return engine_->submit(
      std::make_shared<FailingTask>(Error{Code::kInvalid, "DELETE of more than 1000 keys at once"},
                                    [done = std::move(done), none](Error error) {
                                      if (none)
                                        done(std::vector<DeleteFailure>());
                                      else
                                        done(std::move(error));
                                    }),
      Priority::kForeground);
}

RequestId S3HttpClient::list_uploads(std::string prefix, UploadsCallback done) {
  context_->upload_lists.fetch_add(1, std::memory_order_relaxed);
  return engine_->submit(
      std::make_shared<ListUploadsOperation>(*context_, std::move(prefix), std::move(done)),
      Priority::kForeground);
}

bool S3HttpClient::signs_bodies() const {
  return !context_->endpoint.https() && !context_->options.unsigned_payload;
}

bool S3HttpClient::conditions_supported() const {
  return context_->conditions.load(std::memory_order_relaxed);
}

}  // namespace s3cache::s3
