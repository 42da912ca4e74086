// MD5 as S3 uses it: ETags of objects and of multipart uploads, Content-MD5 of batches.
//
// Threads: pure functions. Errors: nullopt where an ETag cannot be known. Units: bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "s3/body.h"

namespace s3cache::s3 {

std::string md5_raw(std::string_view data);  // 16 bytes
std::string md5_hex(std::string_view data);  // the ETag of a plain PUT
Result<std::string> md5_hex(Body& body);
// 32 hexadecimal digits: the ETag of bytes that were put as one piece (not with SSE-KMS and the like).
bool is_md5_etag(std::string_view etag);
// "<md5 of the parts' md5s>-N"; nullopt when a part's ETag is no MD5.
std::optional<std::string> multipart_etag(const std::vector<std::string>& part_etags);

}  // namespace s3cache::s3
