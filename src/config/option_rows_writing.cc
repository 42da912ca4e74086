// The rows of the group "Writing".
#include "config/option_rows_writing.h"

#include "config/option_builders.h"

namespace s3cache::config {

using namespace builders;

std::vector<Option> writing_rows() {
  constexpr sv kAlways = "always so";
  constexpr sv kChecked = "every upload carries a CRC32C; see checksum";
  constexpr sv kServerCopies = "metadata changes and renames are copies on the server";
  constexpr sv kKeySize = "the size follows multipart_size and multipart_copy_size";
  Option acl =
      choice("default_acl", &Config::default_acl,
             "private|public-read|public-read-write|aws-exec-read|authenticated-read|bucket-owner-read|"
             "bucket-owner-full-control|log-delivery-write",
             "ACL", "canned ACL of every object written");
  acl.default_note = "none sent";
  Option mime = path("mime", &Config::mime, "FILE", "/etc/mime.types", "content types by file extension");
  Option storage =
      text("storage_class", &Config::storage_class, "CLASS", "storage class of every object written");
  Option sse = text("use_sse", &Config::use_sse, "1|kmsid:ID",
                    "server-side encryption: SSE-S3, or SSE-KMS with a key");
  sse.value_optional = true;
  sse.implied_value = "1";
  return {
      path("ahbe_conf", &Config::ahbe_conf, "FILE", "",
           "headers of uploads by suffix or reg:EXPRESSION of their names, a line each: SUFFIX HEADER VALUE"),
      choice("checksum", &Config::checksum, "crc32c|off", "NAME",
             "checksum that the server verifies on every upload"),
      choice("conflict", &Config::conflict, "overwrite|fail", "RULE",
             "rewriting a file that somebody else has changed: the last writer wins, or an error"),
      acl,
      ignored("enable_content_md5", kChecked),
      flag("enable_unsigned_payload", &Config::unsigned_payload,
           "do not sign the bodies of requests over http"),
      accepted("hard_remove", kAlways),
      rejected("load_sse_c", "objects encrypted with customer keys are not read"),
      ignored("max_dirty_data", "parts go up while a file is written"),
      mime,
      size("multipart_copy_size", &Config::multipart_copy_size, kMiB, 5 * kMiB, 5 * 1024 * kMiB,
           "largest part that is copied on the server"),
      size("multipart_size", &Config::multipart_size, kMiB, 5 * kMiB, 5 * 1024 * kMiB,
           "first size of parts; doubles every 1,000 parts"),
      ignored_size("multipart_threshold", 5 * kMiB, kKeySize),
      ignored("nocopyapi", kServerCopies),
      ignored("nomixupload", kServerCopies),
      ignored("nomultipart", "larger files than multipart_size go up in parts"),
      ignored("norenameapi", kServerCopies),
      ignored_size("putheader_mp_threshold", 0, kKeySize),
      ignored_size("singlepart_copy_limit", 0, "S3's own limit of 5 GiB counts"),
      storage,
      accepted("streamupload", kAlways),
      seconds("unmount_timeout", &Config::unmount_timeout, 0, 86400,
              "how long an unmount waits for uploads; what is left goes up after the next mount"),
      flag("update_parent_dir_stat", &Config::update_parent_dir_stat,
           "creating, removing and renaming also set the folder's time"),
      ignored("use_rrs", "use storage_class=REDUCED_REDUNDANCY"),
      sse,
      flag("writeback", &Config::writeback,
           "close and fsync return when the data is on the local disk; uploads follow, also over restarts"),
  };
}

}  // namespace s3cache::config
