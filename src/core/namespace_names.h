// Which keys POSIX can name, and what one page of a listing says in names.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "s3/s3_client.h"

namespace s3cache::core {

inline constexpr size_t kMaxName = 255;  // NAME_MAX
inline constexpr size_t kMaxKey = 1024;  // of S3
inline constexpr std::string_view kFolderSuffix = "_$folder$";

// False for "", ".", "..", names over 255 bytes and names with a NUL or '/'.
bool nameable(std::string_view name);

// A name in a directory as a listing shows it. `key` is the tail of its dirent key: the name, and '/' behind
// a directory's, so that sorting by it is S3's order.
struct ListedName {
  std::string key;
  s3::ListedObject object;  // of a file; unused for a directory
  bool directory() const { return key.back() == '/'; }
  std::string_view name() const {
    return std::string_view(key).substr(0, key.size() - (directory() ? 1 : 0));
  }
};

struct SplitPage {
  std::vector<ListedName> names;           // sorted by key, each once
  std::optional<s3::ListedObject> marker;  // the directory's own object
  uint64_t unnameable = 0;                 // keys and prefixes left out
};

// REQUIRES: `page` is a listing of `prefix` ("" or "a/b/"). A server that ignores the delimiter, or that
// answers keys outside the prefix, does no harm: the first become directories, the second count as
// unnameable. At the bucket's root the prefix "/" may be the object in which s3fs keeps the root's
// attributes: it becomes the marker, without identity. compat_dir: "x_$folder$" is the directory x.
SplitPage split_page(const std::string& prefix, s3::ListPage page, bool compat_dir);

}  // namespace s3cache::core
