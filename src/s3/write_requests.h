// The requests that change a bucket, and what they answer: plain values of S3Client's second half.
//
// Conditions: if_none_match asks for "no such object yet" (kExists if there is one), if_match for this
// version (ETag without quotes; kStale if it is another, kNotFound if there is none). Not every server knows
// every condition: versitygw 1.8 ignores both in copies and DeleteItem's in remove_many, so what must not
// overwrite anything looks first. Threads: values. Units: bytes, UNIX seconds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "s3/body.h"
#include "s3/priority.h"

namespace s3cache::s3 {

// Names in lower case, sent and signed as they are: content-type, x-amz-meta-*, x-amz-acl, ...
using SentHeaders = std::vector<std::pair<std::string, std::string>>;

struct PutRequest {
  std::string key = {};
  std::shared_ptr<Body> body = {};  // null: empty
  SentHeaders headers = {};
  bool if_none_match = false;
  std::string if_match = {};
  std::optional<uint32_t> crc32c = {};  // of the body; the server checks it
  // Of the body, where it is signed (plain http without unsigned_payload). Empty: computed on the network
  // thread before each attempt, so only for small bodies; see sha256_hex(Body&).
  std::string sha256_hex = {};
  Priority priority = Priority::kForeground;
};

// What a write left behind.
struct Written {
  std::string etag;           // without quotes; empty: the server has none
  int64_t last_modified = 0;  // s; copies only, 0: the server did not say
  int64_t server_date = 0;    // s; the answer's Date header, 0: none
  // Of parts that carry one (copied ones get it from the server), for CompletedPart::crc32c.
  std::optional<uint32_t> crc32c = {};
};

struct CopyRequest {
  std::string source_key = {};  // in the same bucket
  std::string key = {};
  std::string source_if_match = {};  // kStale if the source is another version
  bool replace_headers = false;      // the copy gets `headers`, not the source's
  SentHeaders headers = {};
  bool if_none_match = false;
  std::string if_match = {};
  Priority priority = Priority::kForeground;
};

struct UploadRequest {
  std::string key = {};
  SentHeaders headers = {};
  bool crc32c = false;  // its parts will carry CRC32Cs
  Priority priority = Priority::kForeground;
};

struct PartRequest {
  std::string key = {};
  std::string upload_id = {};
  int number = 0;  // 1 to 10,000
  std::shared_ptr<Body> body = {};
  std::optional<uint32_t> crc32c = {};
  std::string sha256_hex = {};  // as PutRequest's
  Priority priority = Priority::kForeground;
};

struct PartCopyRequest {
  std::string key = {};
  std::string upload_id = {};
  int number = 0;
  std::string source_key = {};
  int64_t offset = 0;
  int64_t length = 0;
  std::string source_if_match = {};
  Priority priority = Priority::kForeground;
};

struct CompletedPart {
  int number = 0;
  std::string etag = {};
  std::optional<uint32_t> crc32c = {};
};

struct CompleteRequest {
  std::string key = {};
  std::string upload_id = {};
  std::vector<CompletedPart> parts = {};  // numbers ascending
  bool if_none_match = false;
  std::string if_match = {};
  Priority priority = Priority::kForeground;
};

struct DeleteItem {
  std::string key = {};
  std::string if_match =
      {};  // the version to delete, honoured by fewer servers in remove_many than in remove
};

struct DeleteFailure {
  std::string key;
  Error error;
};

struct ListedUpload {
  std::string key = {};
  std::string upload_id = {};
  int64_t initiated = 0;  // s
};

using WrittenCallback = std::function<void(Result<Written>)>;
using StatusCallback = std::function<void(Status)>;
using UploadIdCallback = std::function<void(Result<std::string>)>;
using DeletedCallback = std::function<void(Result<std::vector<DeleteFailure>>)>;
using UploadsCallback = std::function<void(Result<std::vector<ListedUpload>>)>;

}  // namespace s3cache::s3
