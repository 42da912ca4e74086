#include "s3/digests.h"

#include <openssl/evp.h>

#include "base/encoding.h"

namespace s3cache::s3 {

std::string md5_raw(std::string_view data) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  EVP_Digest(data.data(), data.size(), out, &n, EVP_md5(), nullptr);
  return std::string(reinterpret_cast<char*>(out), n);
}

std::string md5_hex(std::string_view data) { return hex_encode(md5_raw(data)); }

Result<std::string> md5_hex(Body& body) { return digest_hex(body, Digest::kMd5); }

bool is_md5_etag(std::string_view etag) { return etag.size() == 32 && hex_decode(etag).has_value(); }

std::optional<std::string> multipart_etag(const std::vector<std::string>& part_etags) {
  std::string all;
  for (const std::string& etag : part_etags) {
    const auto raw = is_md5_etag(etag) ? hex_decode(etag) : std::nullopt;
    if (!raw) return std::nullopt;
    all += *raw;
  }
  return md5_hex(all) + "-" + std::to_string(part_etags.size());
}

}  // namespace s3cache::s3
