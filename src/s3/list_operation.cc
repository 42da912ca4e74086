#include "s3/list_operation.h"

#include <algorithm>

#include "base/log.h"
#include "s3/xml.h"

namespace s3cache::s3 {

ListOperation::ListOperation(ClientContext& context, ListRequest request, ListCallback done,
                             ListFailure failure, int attempts)
    : Operation(context),
      request_(std::move(request)),
      done_(std::move(done)),
      failure_(std::move(failure)),
      attempts_(attempts) {}

std::string ListOperation::what() const { return "LIST " + request_.prefix; }

int ListOperation::max_attempts() const { return attempts_ > 0 ? attempts_ : Operation::max_attempts(); }

void ListOperation::add_v2_parameters(Query& query) const {
  query.emplace_back("list-type", "2");
  if (!request_.continuation.empty())
    query.emplace_back("continuation-token", request_.continuation.substr(1));
  else if (!request_.start_after.empty())
    query.emplace_back("start-after", request_.start_after);
}

void ListOperation::add_v1_parameters(Query& query) const {
  const std::string marker =
      request_.continuation.empty() ? request_.start_after : request_.continuation.substr(1);
  if (!marker.empty()) query.emplace_back("marker", marker);
}

Attempt ListOperation::attempt() {
  body_.clear();
  too_long_ = false;
  // A listing goes on in the dialect it was begun in.
  v2_ = request_.continuation.empty() ? !force_v1_ && context_.list_v2.load(std::memory_order_relaxed)
                                      : request_.continuation.front() == '2';
  Attempt a;
  if (v2_)
    add_v2_parameters(a.query);
  else
    add_v1_parameters(a.query);
  // Keys may hold bytes that XML cannot carry.
  a.query.emplace_back("encoding-type", "url");
  a.query.emplace_back("max-keys", std::to_string(std::clamp(request_.max_keys, 1, 1000)));
  a.query.emplace_back("prefix", request_.prefix);
  if (request_.delimiter) a.query.emplace_back("delimiter", "/");
  return a;
}

bool ListOperation::on_success_body(std::span<const std::byte> data) {
  too_long_ = body_.size() + data.size() > kMaxBody;
  if (too_long_) return false;
  body_.append(reinterpret_cast<const char*>(data.data()), data.size());
  return true;
}

void ListOperation::deliver_corrupt(std::string message) {
  context_.errors.fetch_add(1, std::memory_order_relaxed);
  done_(Error{Code::kCorrupt, what() + ": " + std::move(message)});
}

Operation::Next ListOperation::on_success_end(Transport transport, ServiceError& why) {
  if (too_long_) {
    deliver_corrupt("an answer of more than 16 MiB");
    return Next::kDone;
  }
  if (transport != Transport::kOk) return Next::kRetry;
  auto answer = parse_list_xml(body_);
  if (!answer.ok()) {
    // Some servers notice their error after they have said 200.
    XmlError xml = parse_error_xml(body_);
    if (!xml.code.empty()) {
      why.code = std::move(xml.code);
      why.message = std::move(xml.message);
      why.region = std::move(xml.region);
      return Next::kRetry;
    }
    deliver_corrupt(answer.error().message);
    return Next::kDone;
  }
  // Remembered only now: a server that refuses both dialects has another reason.
  if (force_v1_ && context_.list_v2.exchange(false))
    log::info("the server refuses ListObjectsV2; V1 from now on");
  ListPage& page = answer->page;
  page.server_date = headers_.date;
  // A server that ignores list-type=2 answers in V1's words.
  if (page.truncated)
    page.next_token = v2_ && !answer->v2_token.empty() ? "2" + answer->v2_token : "1" + answer->v1_marker;
  if (page.truncated && page.next_token == request_.continuation) {
    deliver_corrupt("the listing goes round in a circle");
    return Next::kDone;
  }
  done_(std::move(page));
  return Next::kDone;
}

bool ListOperation::retry_differently(const ServiceError& why) {
  const bool refused = why.status == 501 || why.code == "NotImplemented" ||
                       (why.status == 400 &&
                        (why.code == "InvalidArgument" || why.code == "InvalidRequest" || why.code.empty()));
  if (!v2_ || !refused || !request_.continuation.empty()) return false;
  force_v1_ = true;
  return true;
}

void ListOperation::deliver_error(Error error, const ServiceError& why) {
  if (failure_) failure_(why);
  done_(std::move(error));
}

}  // namespace s3cache::s3
