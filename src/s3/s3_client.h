// S3Client: the verbs of one bucket, asynchronously. The seam for fakes (FakeS3) and faults (FaultyS3).
//
// Every call returns at once. Callbacks and sinks run on a network thread of the client, once each, never
// under a lock of the client; they must not block (hand work to another thread). A call after shutdown()
// completes with kCancelled. Keys are raw bytes, without the leading '/'; the mount's prefix is already part
// of them. Retries (429, 5xx, SlowDown, resets, short bodies), clock skew, re-signing and connection reuse
// happen inside. Threads: every method from any thread. Errors: kNotFound (404), kAccessDenied (403), kStale
// (412), kInvalid (other 4xx), kUnavailable (retries used up), kTimeout (no progress), kCorrupt (an answer
// that contradicts itself), kCancelled; of writes also kExists (if_none_match lost), kUnsupported (the server
// does not know the verb or the condition), kTooBig, kNoSpace, kNameTooLong. A write that failed with
// kUnavailable or kTimeout may have been done all the same. Units: bytes, UNIX seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "s3/priority.h"
#include "s3/write_requests.h"

namespace s3cache::s3 {

// What HEAD, or the headers of a GET, say of one object.
struct ObjectInfo {
  int64_t size = 0;           // the whole object, also for a ranged GET (from Content-Range)
  std::string etag;           // without quotes; empty: the server has none (a W/ tag counts as none)
  int64_t last_modified = 0;  // s; 0: the server did not say
  int64_t server_date = 0;    // s; the answer's Date header, 0: none
  // Kept headers, names in lower case, in the order received: content-type, cache-control, content-encoding,
  // content-disposition, content-language, expires, x-amz-storage-class and all of x-amz-meta-*.
  // Bounded: 8 KiB in all, what is over is dropped.
  std::vector<std::pair<std::string, std::string>> headers;

  // The value of a kept header, nullptr if absent. REQUIRES: name in lower case.
  const std::string* header(std::string_view name) const;
};

struct GetRequest {
  std::string key = {};
  int64_t offset = 0;
  int64_t length = -1;        // -1: to the end. offset 0 with -1 sends no Range header
  std::string if_match = {};  // ETag without quotes; empty: no condition
  Priority priority = Priority::kForeground;
};

// Receives one GET. Order: on_headers once, on_data any number of times, on_done once (also alone, on
// failure). A retry in the middle resumes at the first byte not yet delivered and insists on the same ETag,
// so offsets passed to on_data never repeat and never jump.
class GetSink {
 public:
  virtual ~GetSink() = default;
  // False: cancel the transfer (on_done gets kCancelled).
  virtual bool on_headers(const ObjectInfo& info) = 0;
  // `offset` is the position in the object. At most 16 KiB a call with libcurl.
  virtual bool on_data(int64_t offset, std::span<const std::byte> data) = 0;
  // Ok only if exactly the bytes asked for (cut at the object's end) were delivered.
  virtual void on_done(Status status) = 0;
};

struct ListRequest {
  std::string prefix = {};
  bool delimiter = true;          // '/' or none
  std::string continuation = {};  // the last page's next_token; empty: the first page
  std::string start_after = {};   // only with an empty continuation
  int max_keys = 1000;
  Priority priority = Priority::kForeground;
};

struct ListedObject {
  std::string key = {};
  int64_t size = 0;
  std::string etag;           // without quotes
  int64_t last_modified = 0;  // s
};

struct ListPage {
  std::vector<ListedObject> objects;  // as the server ordered them
  std::vector<std::string> prefixes;  // common prefixes, each ending in '/'
  bool truncated = false;
  std::string next_token;   // for ListRequest::continuation
  int64_t server_date = 0;  // s
};

using HeadCallback = std::function<void(Result<ObjectInfo>)>;
using ListCallback = std::function<void(Result<ListPage>)>;
using RequestId = uint64_t;  // never 0

// Counters since the start, for stats and for tests; read without locks.
struct Counters {
  uint64_t gets = 0, heads = 0, lists = 0, retries = 0, errors = 0;
  uint64_t bytes_received = 0;  // bodies only
  // Calls of the writing verbs, by name.
  uint64_t puts = 0, copies = 0, uploads = 0, parts = 0, part_copies = 0, completes = 0, aborts = 0;
  uint64_t deletes = 0, batch_deletes = 0, upload_lists = 0;
  uint64_t bytes_sent = 0;  // bodies of puts and parts, repeats by retries included
};

class S3Client {
 public:
  virtual ~S3Client() = default;

  virtual RequestId get(GetRequest request, std::shared_ptr<GetSink> sink) = 0;
  virtual RequestId head(std::string key, Priority priority, HeadCallback done) = 0;
  virtual RequestId list(ListRequest request, ListCallback done) = 0;

  // Writing. A client that does not write (the defaults) answers kUnsupported from inside the call.

  virtual RequestId put(PutRequest request, WrittenCallback done);
  virtual RequestId copy(CopyRequest request, WrittenCallback done);
  // Gives the upload id.
  virtual RequestId create_upload(UploadRequest request, UploadIdCallback done);
  virtual RequestId upload_part(PartRequest request, WrittenCallback done);
  virtual RequestId copy_part(PartCopyRequest request, WrittenCallback done);
  // kNotFound: the server does not know the upload (any more); the message has "NoSuchUpload". After a lost
  // answer the object is looked at first: if it is what these parts make, that is success.
  virtual RequestId complete_upload(CompleteRequest request, WrittenCallback done);
  // Ok also when the server does not know the upload (any more).
  virtual RequestId abort_upload(std::string key, std::string upload_id, StatusCallback done);
  // Ok also when there was no such object.
  virtual RequestId remove(DeleteItem item, StatusCallback done);
  // At most 1,000 items (else kInvalid). Ok with the items that are still there and why; an Error: nothing is
  // known of any of them. On servers without DeleteObjects it is one DELETE each.
  virtual RequestId remove_many(std::vector<DeleteItem> items, DeletedCallback done);
  // Multipart uploads that are neither completed nor aborted, all pages.
  virtual RequestId list_uploads(std::string prefix, UploadsCallback done);
  // False once the server refused If-None-Match or If-Match of a write as not implemented; such requests fail
  // with kUnsupported from then on.
  virtual bool conditions_supported() const { return true; }
  // PutRequest::sha256_hex and PartRequest::sha256_hex are wanted: bodies are signed (plain http).
  virtual bool signs_bodies() const { return false; }

  // Best effort: the callback still comes once, with kCancelled or with the result that was already on its
  // way.
  virtual void cancel(RequestId id) = 0;
  // A background request that somebody now waits for. Unknown ids are ignored.
  virtual void promote(RequestId id) = 0;

  virtual Counters counters() const = 0;
  // Cancels everything and joins the network threads. Idempotent; the destructor calls it.
  virtual void shutdown() = 0;
};

}  // namespace s3cache::s3
