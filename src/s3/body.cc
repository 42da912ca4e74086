#include "s3/body.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "base/encoding.h"

namespace s3cache::s3 {

namespace {

Status for_each_piece(Body& body, const std::function<void(std::span<const std::byte>)>& use) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::clamp<int64_t>(body.size(), 1, 256 * 1024)));
  for (int64_t at = 0; at < body.size();) {
    auto n = body.read(at, buffer);
    if (!n.ok()) return n.error();
    if (*n == 0 || *n > buffer.size()) return Error{Code::kIo, "a body that ends before its size"};
    use(std::span<const std::byte>(buffer).first(*n));
    at += static_cast<int64_t>(*n);
  }
  return {};
}

}  // namespace

Result<size_t> StringBody::read(int64_t offset, std::span<std::byte> out) {
  if (offset < 0 || offset > size()) return Error{Code::kInvalid, "an offset outside of the body"};
  const size_t n = std::min(out.size(), data_.size() - static_cast<size_t>(offset));
  std::memcpy(out.data(), data_.data() + offset, n);
  return n;
}

std::shared_ptr<Body> string_body(std::string data) { return std::make_shared<StringBody>(std::move(data)); }

Result<std::string> digest_hex(Body& body, Digest digest) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), digest == Digest::kMd5 ? EVP_md5() : EVP_sha256(), nullptr);
  const Status s = for_each_piece(
      body, [&](std::span<const std::byte> p) { EVP_DigestUpdate(context.get(), p.data(), p.size()); });
  if (!s.ok()) return s.error();
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  EVP_DigestFinal_ex(context.get(), out, &n);
  return hex_encode(std::string_view(reinterpret_cast<char*>(out), n));
}

Result<std::string> sha256_hex(Body& body) { return digest_hex(body, Digest::kSha256); }

Result<std::string> read_all(Body& body) {
  std::string out;
  const Status s = for_each_piece(body, [&](std::span<const std::byte> p) {
    out.append(reinterpret_cast<const char*>(p.data()), p.size());
  });
  if (!s.ok()) return s.error();
  return out;
}

}  // namespace s3cache::s3
