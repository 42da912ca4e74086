// ObjectCopier: one object copied on the server, whatever its size.
//
// Up to single_copy_limit a CopyObject, above it a multipart upload of UploadPartCopies (which takes headers
// only as they are sent: without `replace` they are asked for first; tags do not come along). Every request
// insists on the source's version. Threads: any; callbacks on network threads. Borrows the client, which is
// shut down first. Errors: those of S3Client; kStale: the source is another version now. Units: bytes.
#pragma once

#include <memory>
#include <string>

#include "core/object_headers.h"

namespace s3cache::core {

class ObjectCopier {
 public:
  ObjectCopier(s3::S3Client& s3, const UploadOptions& options) : s3_(s3), options_(options) {}

  struct Copy {
    std::string source_key, key;
    std::string etag;  // of the source; empty: no condition
    int64_t size = 0;
    // True: `headers` are all it gets. False: the source's own, and what mount_headers() has put there.
    bool replace = false;
    s3::SentHeaders headers = {};
    bool if_none_match = false;
    bool strict = false;  // if_none_match has to hold: Complete's does on servers that ignore CopyObject's
    s3::Priority priority = s3::Priority::kForeground;
  };
  void copy(Copy copy, s3::WrittenCallback done);

 private:
  struct Parts;
  using PartsPtr = std::shared_ptr<Parts>;

  void copy_directory(Copy copy, s3::WrittenCallback done);
  void put_directory(Copy copy, s3::WrittenCallback done);
  // The source's own headers and what mount_headers() said, for requests that take them only as sent.
  void ask_headers(const Copy& copy, std::function<void(Result<s3::SentHeaders>)> done);
  void copy_parts(Copy copy, s3::WrittenCallback done);
  void create(const PartsPtr& parts);
  void next_part(const PartsPtr& parts);
  void complete(const PartsPtr& parts);
  void fail(const PartsPtr& parts, const Error& error);

  s3::S3Client& s3_;
  const UploadOptions& options_;
};

}  // namespace s3cache::core
