// ListOperation: one page of a listing, by V2, or by V1 where the server refuses V2 (remembered by the
// context).
//
// next_token of a page carries which dialect it continues: '2' + NextContinuationToken, or '1' + marker.
// Threads: as HttpTask; the answer is parsed on the network thread. Errors: those of S3Client::list.
#pragma once

#include <functional>
#include <string>

#include "s3/operation.h"
#include "s3/s3_client.h"

namespace s3cache::s3 {

// Why a listing failed, next to the Error: for the check of the bucket at the start.
using ListFailure = std::function<void(const ServiceError&)>;

class ListOperation : public Operation {
 public:
  // `failure` may be null; it is called before `done`. `attempts` 0: as the policy says.
  ListOperation(ClientContext& context, ListRequest request, ListCallback done, ListFailure failure = {},
                int attempts = 0);

 protected:
  Attempt attempt() override;
  std::string what() const override;
  bool on_success_body(std::span<const std::byte> data) override;
  Next on_success_end(Transport transport, ServiceError& why) override;
  void deliver_error(Error error, const ServiceError& why) override;
  bool retry_differently(const ServiceError& why) override;
  int max_attempts() const override;

 private:
  // 1,000 keys of 1,024 bytes, each byte percent-encoded, with 300 bytes of markup each, are under 4 MiB.
  static constexpr size_t kMaxBody = 16 * 1024 * 1024;

  void add_v1_parameters(Query& query) const;
  void add_v2_parameters(Query& query) const;
  void deliver_corrupt(std::string message);

  const ListRequest request_;
  const ListCallback done_;
  const ListFailure failure_;
  const int attempts_;
  bool v2_ = true;
  bool force_v1_ = false;
  bool too_long_ = false;
  std::string body_;
};

}  // namespace s3cache::s3
