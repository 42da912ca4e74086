#include "s3/signer.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>

#include "base/encoding.h"

namespace s3cache::s3 {

namespace {

std::string hmac(std::string_view key, std::string_view data) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(data.data()), data.size(), out, &n);
  return std::string(reinterpret_cast<char*>(out), n);
}

std::string amz_date(int64_t now_s) {
  const time_t t = now_s;
  tm parts{};
  gmtime_r(&t, &parts);
  char text[32];
  const size_t n = strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
  return std::string(text, n);
}

// Blanks around the value go, runs of blanks inside become one.
std::string trimmed(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t';
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out.push_back(blank ? ' ' : c);
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::string sha256_hex(std::string_view data) {
  unsigned char out[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(), out);
  return hex_encode(std::string_view(reinterpret_cast<char*>(out), sizeof out));
}

Signer::Signer(std::string region, std::string service)
    : region_(std::move(region)), service_(std::move(service)) {}

std::string Signer::day_key(const Credentials& credentials, const std::string& day) const {
  {
    MutexLock l(mu_);
    if (cached_day_ == day && cached_secret_ == credentials.secret_key) return cached_key_;
  }
  std::string key =
      hmac(hmac(hmac(hmac("AWS4" + credentials.secret_key, day), region_), service_), "aws4_request");
  MutexLock l(mu_);
  cached_secret_ = credentials.secret_key;
  cached_day_ = day;
  cached_key_ = key;
  return key;
}

HeaderList Signer::sign(const SignRequest& request, const Credentials& credentials, int64_t now_s) const {
  if (credentials.anonymous()) return {};
  const std::string date = amz_date(now_s);
  const std::string day = date.substr(0, 8);
  HeaderList added;
  // The generic suite signs neither; S3 insists on the hash.
  if (service_ == "s3") added.emplace_back("x-amz-content-sha256", request.payload_hash);
  added.emplace_back("x-amz-date", date);
  if (!credentials.session_token.empty())
    added.emplace_back("x-amz-security-token", credentials.session_token);

  HeaderList all = request.headers;
  all.insert(all.end(), added.begin(), added.end());
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string canonical = request.method + "\n" + request.canonical_uri + "\n" + request.query + "\n";
  std::string names;
  for (const auto& [name, value] : all) {
    canonical += name + ":" + trimmed(value) + "\n";
    if (!names.empty()) names.push_back(';');
    names += name;
  }
  canonical += "\n" + names + "\n" + request.payload_hash;

  const std::string scope = day + "/" + region_ + "/" + service_ + "/aws4_request";
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + sha256_hex(canonical);
  const std::string signature = hex_encode(hmac(day_key(credentials, day), to_sign));
  added.emplace_back("authorization", "AWS4-HMAC-SHA256 Credential=" + credentials.access_key + "/" + scope +
                                          ", SignedHeaders=" + names + ", Signature=" + signature);
  return added;
}

}  // namespace s3cache::s3
