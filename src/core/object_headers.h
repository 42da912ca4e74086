// The headers of an upload: s3fs's on-bucket format, from an inode's record.
//
// Byte for byte what s3fs writes (mode, uid, gid in decimal; times as SECONDS.NNNNNNNNN; xattrs as
// percent-encoded JSON), plus every kept header of the object (Cache-Control, Content-Encoding, foreign
// x-amz-meta-*, ...), which s3fs loses. What an object does not say (no mode, no owner: the mount's default
// is shown) is not written either. Two things s3fs does not do: an object's own Content-Type stays (s3fs goes
// by the name at every chmod, which turns a web page without extension into a download), and a device's
// number goes into x-amz-meta-rdev, which other readers ignore. Threads: pure functions, but for the mime
// table, which is read once.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/header_rules.h"
#include "core/namespace.h"
#include "meta/records.h"
#include "s3/s3_client.h"

namespace s3cache::core {

// What the mount adds to every upload and copy.
struct UploadOptions {
  std::string default_acl;    // empty: none
  std::string storage_class;  // empty: none, the object's own is kept on a metadata change
  std::string sse;            // "" none, "AES256", or "kms:ID"
  std::string mime_file = "/etc/mime.types";
  std::shared_ptr<const HeaderRules> rules;      // null: none
  bool crc32c = true;                            // checksum=off turns it off
  int64_t multipart_size = 10 << 20;             // bytes; grows with the file so that 10,000 parts do
  int64_t copy_size = 512 << 20;                 // bytes of one UploadPartCopy
  int64_t single_copy_limit = int64_t{5} << 30;  // larger objects are copied in parts
  int parallel = 10;                             // parts of one file on their way
  bool writeback = false;
  int64_t gather_ms = 50;      // deletions go out together when none was added for so long
  bool conflict_fail = false;  // conflict=fail: If-Match on whole rewrites too
  bool update_parent_dir_stat = false;
};

// What S3 takes as user metadata of one object, names (without x-amz-meta-) and values together; bytes.
inline constexpr size_t kMaxUserMetadata = 2048;

// content-type by the last, else the second-last extension; "application/x-directory" for keys ending in '/'.
std::string content_type_of(std::string_view key, const std::string& mime_file);

// `inode`'s mode, owner and times and `ext`'s xattrs and kept headers, for the object `key`.
s3::SentHeaders object_headers(const meta::Inode& inode, const meta::Ext& ext, std::string_view key,
                               const UploadOptions& options);

// The part of object_headers() that is the mount's, not the object's: storage class (the object's own, if the
// mount has none), ACL, encryption.
s3::SentHeaders mount_headers(const meta::Ext& ext, const UploadOptions& options);

// kNoSpace: more user metadata than S3 takes.
Status check_user_metadata(const s3::SentHeaders& headers);

// The kept headers of a file that leaves `key` for another name: a Content-Type that follows from the old
// name, or says nothing, is left out, so that the new name decides; any other stays.
void rename_headers(meta::Ext& ext, std::string_view key, const UploadOptions& options);

// The value of x-amz-meta-xattr. Empty: no attributes. Sorted; as s3fs, but that a name's quotes, backslashes
// and control characters are escaped: what s3fs writes there nobody can read back.
std::string encode_xattrs(std::vector<std::pair<std::string, std::string>> xattrs);

}  // namespace s3cache::core
