// The content type of a name, from a file like /etc/mime.types.
//
// Threads: content_type_by_name() from any; a file is read once and kept for the life of the process. Errors:
// a file that cannot be read is an empty table: everything is "application/octet-stream".
#pragma once

#include <string>
#include <string_view>

namespace s3cache::core {

inline constexpr std::string_view kDefaultContentType = "application/octet-stream";
inline constexpr std::string_view kDirectoryContentType = "application/x-directory";

// By the last, else the second-last extension of the last component, in any case ("a.TXT.gz": gz, then txt).
std::string content_type_by_name(std::string_view name, const std::string& mime_file);

}  // namespace s3cache::core
