// Extended attributes: the mount's own user.s3cache.* and those that s3fs stores in x-amz-meta-xattr.
// Threads: pure functions. Errors: what cannot be decoded counts as no attributes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace s3cache::core {

inline constexpr char kXattrEtag[] = "user.s3cache.etag";
inline constexpr char kXattrCachedBytes[] = "user.s3cache.cached_bytes";
inline constexpr char kXattrSize[] = "user.s3cache.size";
inline constexpr const char* kOwnXattrs[] = {kXattrEtag, kXattrCachedBytes, kXattrSize};

bool is_own_xattr(std::string_view name);

// s3fs's format: percent-encoded {"name":"BASE64",...} (reference: s3fs fdcache/metaheader, checked by
// running it).
std::vector<std::pair<std::string, std::string>> decode_xattrs(std::string_view header);

}  // namespace s3cache::core
