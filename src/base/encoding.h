// Text encodings: percent (RFC 3986, and S3's rule that keeps '/'), hex, base64 (RFC 4648 with padding).
// Threads: pure functions. Errors: decoders return nullopt for malformed input.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace s3cache {

// Unreserved A-Za-z0-9-._~ are kept, everything else becomes %XX (upper case); keep_slash leaves '/' alone.
std::string percent_encode(std::string_view s, bool keep_slash);
// plus_is_space: S3's listing with encoding-type=url writes a blank as '+'.
std::optional<std::string> percent_decode(std::string_view s, bool plus_is_space);

std::string hex_encode(std::string_view bytes);  // lower case
std::optional<std::string> hex_decode(std::string_view hex);

std::string base64_encode(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace s3cache
