#include "s3/role_credentials.h"

#include <curl/curl.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/log.h"
#include "s3/response_headers.h"

namespace s3cache::s3 {

namespace {

constexpr int64_t kRenewBeforeS = 300;
constexpr int64_t kRetryS = 30;
constexpr size_t kMaxBody = 64 * 1024;

struct Answer {
  long status = 0;
  std::string body;
};

size_t collect(char* data, size_t size, size_t n, void* out) {
  auto* body = static_cast<std::string*>(out);
  if (body->size() + size * n > kMaxBody) return 0;
  body->append(data, size * n);
  return size * n;
}

// The service is link-local: it answers in milliseconds or is not there, and no proxy may see the keys.
Result<Answer> exchange(const std::string& url, bool put, const std::string& header) {
  const std::unique_ptr<CURL, void (*)(CURL*)> easy(curl_easy_init(), curl_easy_cleanup);
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(
      header.empty() ? nullptr : curl_slist_append(nullptr, header.c_str()), curl_slist_free_all);
  Answer answer;
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_CONNECTTIMEOUT, 2L);
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT, 5L);
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, collect);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &answer.body);
  if (put) curl_easy_setopt(easy.get(), CURLOPT_CUSTOMREQUEST, "PUT");
  const CURLcode code = curl_easy_perform(easy.get());
  if (code != CURLE_OK)
    return Error{Code::kUnavailable, "credentials from " + url + ": " + curl_easy_strerror(code)};
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

Result<Credentials> parse_credentials(const std::string& body, const std::string& url) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const auto text = [&json](const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const Error corrupt{Code::kCorrupt, "credentials from " + url + ": an answer without keys"};
  if (!json.is_object()) return corrupt;
  Credentials c{text("AccessKeyId"), text("SecretAccessKey"), text("Token")};
  c.expiry = parse_rfc3339(text("Expiration")).value_or(0);
  if (c.access_key.empty() || c.secret_key.empty()) return corrupt;
  return c;
}

Result<Credentials> get_credentials(const std::string& url, const std::string& header) {
  auto answer = exchange(url, false, header);
  if (!answer.ok()) return answer.error();
  if (answer->status != 200)
    return Error{Code::kAccessDenied, "credentials from " + url + ": HTTP " + std::to_string(answer->status)};
  return parse_credentials(answer->body, url);
}

bool fits_header(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

// The header by which a container proves which one it is, empty where none is wanted.
Result<std::string> container_header(const RoleOptions& options) {
  std::string token = options.container_token;
  if (!options.container_token_file.empty()) {
    std::ifstream file(options.container_token_file);
    if (!std::getline(file, token))
      return Error{Code::kAccessDenied, "ecs: cannot read " + options.container_token_file};
  }
  if (token.empty()) return token;
  if (token.size() > kMaxBody || !fits_header(token))
    return Error{Code::kAccessDenied, "ecs: the authorization token is not one"};
  return "Authorization: " + token;
}

// The header that IMDSv2 wants, empty where only v1 is spoken.
Result<std::string> session_header(const RoleOptions& options) {
  if (options.v1_only) return std::string();
  auto token = exchange(options.instance_url + "/latest/api/token", true,
                        "X-aws-ec2-metadata-token-ttl-seconds: 21600");
  if (!token.ok()) return token.error();
  if (token->status == 404 || token->status == 405) return std::string();
  if (token->status != 200 || !fits_header(token->body))
    return Error{Code::kAccessDenied,
                 "instance metadata: no session token, HTTP " + std::to_string(token->status)};
  return "X-aws-ec2-metadata-token: " + token->body;
}

Result<std::string> find_role(const RoleOptions& options, const std::string& base,
                              const std::string& header) {
  if (!options.role.empty()) return options.role;
  auto answer = exchange(base, false, header);
  if (!answer.ok()) return answer.error();
  const std::string name = answer->body.substr(0, answer->body.find_first_of("\r\n"));
  if (answer->status != 200 || name.empty())
    return Error{Code::kAccessDenied, "this machine has no role: iam_role needs an instance profile"};
  return name;
}

}  // namespace

Result<Credentials> fetch_role_credentials(const RoleOptions& options) {
  if (options.container) {
    if (options.container_path.empty() || options.container_path.front() != '/')
      return Error{Code::kAccessDenied, "ecs: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set"};
    const auto header = container_header(options);
    if (!header.ok()) return header.error();
    return get_credentials(options.container_url + options.container_path, *header);
  }
  const auto header = session_header(options);
  if (!header.ok()) return header.error();
  const std::string base = options.instance_url + "/latest/meta-data/iam/security-credentials/";
  const auto role = find_role(options, base, *header);
  if (!role.ok()) return role.error();
  return get_credentials(base + percent_encode(*role, false), *header);
}

Result<std::unique_ptr<RoleCredentials>> RoleCredentials::create(RoleOptions options, const Clock& clock) {
  auto first = fetch_role_credentials(options);
  if (!first.ok()) return first.error();
  return std::unique_ptr<RoleCredentials>(new RoleCredentials(std::move(options), clock, std::move(*first)));
}

RoleCredentials::RoleCredentials(RoleOptions options, const Clock& clock, Credentials first)
    : options_(std::move(options)),
      clock_(clock),
      current_(std::move(first)),
      asked_at_s_(clock.wall_s()),
      thread_([this] { run(); }) {}

RoleCredentials::~RoleCredentials() {
  {
    MutexLock l(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

Result<Credentials> RoleCredentials::get() {
  MutexLock l(mu_);
  // A machine that was suspended wakes up past the renewal; its first request hurries the thread.
  if (current_.expiry != 0 && current_.expiry - clock_.wall_s() < kRenewBeforeS) changed_.notify_all();
  if (current_.expiry != 0 && current_.expiry <= clock_.wall_s())
    return Error{Code::kAccessDenied, "the role's keys expired and could not be renewed"};
  return current_;
}

int64_t RoleCredentials::renewal_due_s(bool failed) {
  if (failed) return asked_at_s_ + kRetryS;
  if (current_.expiry == 0) return asked_at_s_ + 3600;
  // Not more often than the retries, whatever the service says of the expiry.
  return std::max(asked_at_s_ + kRetryS, current_.expiry - kRenewBeforeS);
}

void RoleCredentials::run() {
  // Short sleeps follow a clock that jumps.
  constexpr std::chrono::milliseconds kStep{30'000};
  bool failed = false;
  MutexLock l(mu_);
  for (;;) {
    while (!stopping_ && clock_.wall_s() < renewal_due_s(failed)) changed_.wait_for(mu_, kStep);
    if (stopping_) return;
    l.unlock();
    auto next = fetch_role_credentials(options_);
    if (!next.ok()) log::warn("{}; next try in {} s", next.error().message, kRetryS);
    l.lock();
    asked_at_s_ = clock_.wall_s();
    failed = !next.ok();
    if (next.ok()) current_ = std::move(*next);
  }
}

}  // namespace s3cache::s3
