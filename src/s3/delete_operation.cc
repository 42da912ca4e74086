#include "s3/delete_operation.h"

#include <algorithm>
#include <unordered_map>

#include "base/encoding.h"
#include "base/log.h"
#include "s3/digests.h"
#include "s3/http_engine.h"
#include "s3/xml_writes.h"

namespace s3cache::s3 {

DeleteOperation::DeleteOperation(ClientContext& context, DeleteItem item, StatusCallback done)
    : WriteOperation(context), item_(std::move(item)), done_(std::move(done)) {}

Status DeleteOperation::check() const {
  return item_.key.empty() ? Error{Code::kInvalid, "no key"} : Status();
}

Attempt DeleteOperation::request() {
  Attempt a;
  a.method = Method::kDelete;
  a.key = item_.key;
  if (!item_.if_match.empty()) a.headers.emplace_back("if-match", "\"" + item_.if_match + "\"");
  return a;
}

Operation::Next DeleteOperation::finish(ServiceError&) {
  done_({});
  return Next::kDone;
}

void DeleteOperation::deliver_error(Error error, const ServiceError&) {
  done_(error.code == Code::kNotFound ? Status() : Status(std::move(error)));
}

DeleteManyOperation::DeleteManyOperation(ClientContext& context, std::vector<DeleteItem> items, Done done,
                                         FallBack fall_back)
    : WriteOperation(context, kMaxAnswer),
      open_(std::move(items)),
      done_(std::move(done)),
      fall_back_(std::move(fall_back)) {}

std::string DeleteManyOperation::what() const {
  return "DELETE of " + std::to_string(open_.size()) + " keys from " + open_.front().key;
}

Attempt DeleteManyOperation::request() {
  std::string xml = delete_xml(open_);
  Attempt a;
  a.method = Method::kPost;
  a.query = {{"delete", ""}};
  // S3 insists on it, and many servers on this form of it.
  a.headers.emplace_back("content-md5", base64_encode(md5_raw(xml)));
  a.headers.emplace_back("content-type", "application/xml");
  body_ = string_body(std::move(xml));
  a.body = body_.get();
  a.slow_answer = true;
  return a;
}

Operation::Next DeleteManyOperation::finish(ServiceError& why) {
  auto refused = parse_delete_xml(answer());
  if (!refused.ok()) return fail_corrupt(refused.error().message);
  answered_ = true;
  std::unordered_map<std::string, XmlDeleteFailure*> by_key;
  for (XmlDeleteFailure& f : *refused) by_key[f.key] = &f;
  std::vector<DeleteItem> again;
  for (DeleteItem& item : open_) {
    const auto it = by_key.find(item.key);
    if (it == by_key.end()) continue;
    ServiceError item_why;
    item_why.status = headers_.status;
    item_why.code = it->second->code;
    item_why.message = it->second->message;
    const Code code = ServiceError::code_of(item_why.code);
    if (code == Code::kNotFound) continue;
    if (item_why.retryable()) {
      why.code = item_why.code;
      why.message = item_why.message;
      again.push_back(std::move(item));
    } else {
      Error error = item_why.to_error("DELETE " + item.key);
      error.code = code;
      failures_.push_back({std::move(item.key), std::move(error)});
    }
  }
  if (!again.empty()) {
    open_ = std::move(again);
    return Next::kRetry;
  }
  done_(std::move(failures_));
  return Next::kDone;
}

void DeleteManyOperation::deliver_error(Error error, const ServiceError& why) {
  const bool unknown = error.code == Code::kUnsupported;
  if (unknown && context_.delete_objects.exchange(false))
    log::warn("the server does not know DeleteObjects; keys are deleted one by one from now on");
  // A key that it cannot read is no reason to give up the verb.
  if (unknown || why.code == "MalformedXML") {
    fall_back_(std::move(open_));
    return;
  }
  if (!answered_) {
    done_(std::move(error));
    return;
  }
  for (DeleteItem& item : open_) failures_.push_back({std::move(item.key), error});
  done_(std::move(failures_));
}

RequestId DeleteBatch::start(ClientContext& context, std::vector<DeleteItem> items, DeletedCallback done) {
  const std::shared_ptr<DeleteBatch> batch(new DeleteBatch(context, std::move(done)));
  const bool many = items.size() > 1 && context.delete_objects.load(std::memory_order_relaxed);
  const auto single = std::stable_partition(
      items.begin(), items.end(), [many](const DeleteItem& item) { return many && xml_can_carry(item.key); });
  std::vector<DeleteItem> one_by_one(std::make_move_iterator(single), std::make_move_iterator(items.end()));
  items.erase(single, items.end());
  {
    MutexLock l(batch->mu_);
    batch->requests_ = one_by_one.size() + (items.empty() ? 0 : 1);
  }
  RequestId id = 0;
  for (DeleteItem& item : one_by_one) id = batch->send_one(std::move(item));
  if (!items.empty()) id = batch->send_many(std::move(items));
  return id;
}

RequestId DeleteBatch::send_many(std::vector<DeleteItem> items) {
  auto self = shared_from_this();
  std::vector<std::string> keys;
  for (const DeleteItem& item : items) keys.push_back(item.key);
  context_.batch_deletes.fetch_add(1, std::memory_order_relaxed);
  return context_.engine->submit(
      std::make_shared<DeleteManyOperation>(
          context_, std::move(items),
          [self, keys = std::move(keys)](Result<std::vector<DeleteFailure>> r) {
            self->ended(std::move(r), keys);
          },
          [self](std::vector<DeleteItem> open) { self->fall_back(std::move(open)); }),
      Priority::kForeground);
}

RequestId DeleteBatch::send_one(DeleteItem item) {
  auto self = shared_from_this();
  context_.deletes.fetch_add(1, std::memory_order_relaxed);
  std::string key = item.key;
  return context_.engine->submit(std::make_shared<DeleteOperation>(context_, std::move(item),
                                                                   [self, key = std::move(key)](Status s) {
                                                                     std::vector<DeleteFailure> failures;
                                                                     if (!s.ok())
                                                                       failures.push_back({key, s.error()});
                                                                     self->ended(std::move(failures), {});
                                                                   }),
                                 Priority::kForeground);
}

void DeleteBatch::fall_back(std::vector<DeleteItem> items) {
  {
    MutexLock l(mu_);
    requests_ += items.size() - 1;
  }
  for (DeleteItem& item : items) send_one(std::move(item));
}

void DeleteBatch::ended(Result<std::vector<DeleteFailure>> result, const std::vector<std::string>& keys) {
  MutexLock l(mu_);
  const bool alone = requests_ == 1 && !others_;
  others_ = true;
  --requests_;
  if (!alone) {
    if (result.ok())
      for (DeleteFailure& f : *result) failures_.push_back(std::move(f));
    else
      for (const std::string& key : keys) failures_.push_back({key, result.error()});
    if (requests_ > 0) return;
    result = std::move(failures_);
  }
  l.unlock();
  done_(std::move(result));
}

}  // namespace s3cache::s3
