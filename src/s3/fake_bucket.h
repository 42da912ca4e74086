// FakeBucket: the objects and uploads of a bucket in memory, and what S3's writing verbs do to them.
//
// ETags are S3's: the MD5 of a put, "<md5 of md5s>-N" of a multipart upload. Threads: a value, used by FakeS3
// under its lock. Errors: those of a correct server, their S3 code in the message. Units: bytes, UNIX
// seconds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "s3/request_info.h"

namespace s3cache::s3 {

class FakeBucket {
 public:
  struct Object {
    std::string data;  // empty with size > 0: the bytes are pattern_byte(offset)
    int64_t size = 0;
    std::string etag;
    int64_t last_modified = 0;
    SentHeaders headers;

    std::string bytes(int64_t offset, int64_t length) const;
  };
  struct Part {
    std::string data;
    std::string etag;
    std::optional<uint32_t> crc32c;
  };
  struct Upload {
    std::string key;
    SentHeaders headers;
    int64_t initiated = 0;
    std::map<int, Part> parts;
  };

  static std::byte pattern_byte(int64_t offset);

  // Each does what the request says, at `now_s`.
  Result<Written> put(const RequestInfo& r, std::string data, std::optional<uint32_t> crc32c, int64_t now_s);
  Result<Written> copy(const RequestInfo& r, int64_t now_s);
  Result<std::string> create_upload(const RequestInfo& r, int64_t now_s);
  Result<Written> upload_part(const RequestInfo& r, std::string data, std::optional<uint32_t> crc32c);
  Result<Written> copy_part(const RequestInfo& r, int64_t now_s);
  Result<Written> complete(const RequestInfo& r, int64_t now_s);
  Status abort(const RequestInfo& r);
  Status remove(const DeleteItem& item);
  std::vector<ListedUpload> list_uploads(const std::string& prefix) const;

  std::map<std::string, Object> objects;
  std::map<std::string, Upload> uploads;  // by id
  int64_t min_part = 5 * 1024 * 1024;     // of all parts but the last
  bool conditions = true;                 // false: If-Match and If-None-Match of writes are NotImplemented
  bool conditions_refused = false;
  bool copies_have_checksums = true;  // false: as versitygw, where the source was made of parts

 private:
  Status check_key(const RequestInfo& r) const;
  Status check_conditions(const RequestInfo& r);
  Result<const Object*> source_of(const RequestInfo& r) const;
  Result<Upload*> upload_of(const RequestInfo& r);
  Result<std::string> assemble(const RequestInfo& r, const Upload& upload,
                               std::vector<std::string>& etags) const;

  uint64_t last_upload_ = 0;
};

}  // namespace s3cache::s3
