#include "s3/request_info.h"

namespace s3cache::s3 {

namespace {

RequestInfo basic(Verb verb, const std::string& key, Priority priority = Priority::kForeground) {
  RequestInfo info;
  info.verb = verb;
  info.key = key;
  info.priority = priority;
  return info;
}

}  // namespace

RequestInfo describe(const PutRequest& r) {
  RequestInfo info = basic(Verb::kPut, r.key, r.priority);
  info.length = r.body ? r.body->size() : 0;
  info.headers = r.headers;
  info.if_match = r.if_match;
  info.if_none_match = r.if_none_match;
  return info;
}

RequestInfo describe(const CopyRequest& r) {
  RequestInfo info = basic(Verb::kCopy, r.key, r.priority);
  info.source_key = r.source_key;
  info.source_if_match = r.source_if_match;
  info.replace_headers = r.replace_headers;
  info.headers = r.headers;
  info.if_match = r.if_match;
  info.if_none_match = r.if_none_match;
  return info;
}

RequestInfo describe(const UploadRequest& r) {
  RequestInfo info = basic(Verb::kCreateUpload, r.key, r.priority);
  info.headers = r.headers;
  return info;
}

RequestInfo describe(const PartRequest& r) {
  RequestInfo info = basic(Verb::kUploadPart, r.key, r.priority);
  info.upload_id = r.upload_id;
  info.part_number = r.number;
  info.length = r.body ? r.body->size() : 0;
  return info;
}

RequestInfo describe(const PartCopyRequest& r) {
  RequestInfo info = basic(Verb::kCopyPart, r.key, r.priority);
  info.upload_id = r.upload_id;
  info.part_number = r.number;
  info.source_key = r.source_key;
  info.source_if_match = r.source_if_match;
  info.offset = r.offset;
  info.length = r.length;
  return info;
}

RequestInfo describe(const CompleteRequest& r) {
  RequestInfo info = basic(Verb::kCompleteUpload, r.key, r.priority);
  info.upload_id = r.upload_id;
  info.parts = r.parts;
  info.if_match = r.if_match;
  info.if_none_match = r.if_none_match;
  return info;
}

RequestInfo describe(DeleteItem item) {
  RequestInfo info = basic(Verb::kDelete, item.key);
  info.if_match = item.if_match;
  info.items.push_back(std::move(item));
  return info;
}

RequestInfo describe(std::vector<DeleteItem> items) {
  RequestInfo info = basic(Verb::kDeleteMany, items.empty() ? std::string() : items.front().key);
  info.items = std::move(items);
  return info;
}

RequestInfo describe_abort(std::string key, std::string upload_id) {
  RequestInfo info = basic(Verb::kAbortUpload, key);
  info.upload_id = std::move(upload_id);
  return info;
}

RequestInfo describe_uploads(std::string prefix) { return basic(Verb::kListUploads, prefix); }

}  // namespace s3cache::s3
