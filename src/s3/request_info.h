// What a fake or a fault decorator knows of one request: for records, counts and decisions of tests.
// Threads: a value.
#pragma once

#include <cstdint>
#include <string>

#include "s3/s3_client.h"

namespace s3cache::s3 {

enum class Verb : uint8_t {
  kGet,
  kHead,
  kList,
  kPut,
  kCopy,
  kCreateUpload,
  kUploadPart,
  kCopyPart,
  kCompleteUpload,
  kAbortUpload,
  kDelete,
  kDeleteMany,
  kListUploads,
};

struct RequestInfo {
  RequestId id = 0;
  Verb verb = Verb::kGet;
  Priority priority = Priority::kForeground;  // as it was sent; promote() does not change the record
  std::string key;                            // LIST, uploads: the prefix; many deletes: the first key
  int64_t offset = 0;                         // GET, part copy
  int64_t length = -1;                        // GET, part copy; PUT, part: the body's size
  std::string if_match;                       // GET and writes
  ListRequest list;                           // LIST
  bool if_none_match = false;                 // PUT, copy, complete
  std::string source_key;                     // copies
  std::string source_if_match;                // copies
  bool replace_headers = false;               // copy
  SentHeaders headers;                        // PUT, copy, create upload
  std::string upload_id;
  int part_number = 0;
  std::vector<CompletedPart> parts;  // complete
  std::vector<DeleteItem> items;     // deletes
};

RequestInfo describe(const PutRequest& request);
RequestInfo describe(const CopyRequest& request);
RequestInfo describe(const UploadRequest& request);
RequestInfo describe(const PartRequest& request);
RequestInfo describe(const PartCopyRequest& request);
RequestInfo describe(const CompleteRequest& request);
RequestInfo describe(DeleteItem item);
RequestInfo describe(std::vector<DeleteItem> items);
RequestInfo describe_abort(std::string key, std::string upload_id);
RequestInfo describe_uploads(std::string prefix);

}  // namespace s3cache::s3
