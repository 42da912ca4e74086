// Deletes: one DELETE, or up to 1,000 keys by DeleteObjects.
//
// DeleteBatch splits what was asked for: keys that XML cannot carry, and everything on a server without
// DeleteObjects, go as single DELETEs in parallel. Items that the server failed on for the moment
// (InternalError, SlowDown) are sent again. Threads: as HttpTask; DeleteBatch from any. Errors: those of
// S3Client::remove and remove_many.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/sync.h"
#include "s3/write_operation.h"

namespace s3cache::s3 {

class DeleteOperation : public WriteOperation {
 public:
  DeleteOperation(ClientContext& context, DeleteItem item, StatusCallback done);

 protected:
  std::string what() const override { return "DELETE " + item_.key; }
  Status check() const override;
  Attempt request() override;
  Next finish(ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;

 private:
  const DeleteItem item_;
  const StatusCallback done_;
};

class DeleteManyOperation : public WriteOperation {
 public:
  // Gives the failures, an Error if nothing is known of any item; or the items to delete one by one, where
  // the server has no DeleteObjects.
  using Done = std::function<void(Result<std::vector<DeleteFailure>>)>;
  using FallBack = std::function<void(std::vector<DeleteItem>)>;

  DeleteManyOperation(ClientContext& context, std::vector<DeleteItem> items, Done done, FallBack fall_back);

 protected:
  std::string what() const override;
  Attempt request() override;
  Next finish(ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;

 private:
  static constexpr size_t kMaxAnswer = 8 * 1024 * 1024;

  std::vector<DeleteItem> open_;  // neither deleted nor refused so far
  const Done done_;
  const FallBack fall_back_;
  bool answered_ = false;  // at least once: some items are settled
  std::vector<DeleteFailure> failures_;
  std::shared_ptr<Body> body_;  // of the running attempt
};

class DeleteBatch : public std::enable_shared_from_this<DeleteBatch> {
 public:
  static constexpr size_t kMaxItems = 1000;

  // REQUIRES: at least one item, at most kMaxItems. The id of one of the requests it takes.
  static RequestId start(ClientContext& context, std::vector<DeleteItem> items, DeletedCallback done);

 private:
  DeleteBatch(ClientContext& context, DeletedCallback done) : context_(context), done_(std::move(done)) {}

  RequestId send_many(std::vector<DeleteItem> items);
  RequestId send_one(DeleteItem item);
  void fall_back(std::vector<DeleteItem> items);
  // `keys`: those of the request that ended.
  void ended(Result<std::vector<DeleteFailure>> result, const std::vector<std::string>& keys);

  ClientContext& context_;
  const DeletedCallback done_;
  Mutex mu_;
  size_t requests_ GUARDED_BY(mu_) = 0;  // on their way
  bool others_ GUARDED_BY(mu_) = false;  // at least one ended before
  std::vector<DeleteFailure> failures_ GUARDED_BY(mu_);
};

}  // namespace s3cache::s3
