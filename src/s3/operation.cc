#include "s3/operation.h"

#include <algorithm>

#include "base/log.h"
#include "s3/http_engine.h"
#include "s3/xml.h"

namespace s3cache::s3 {

namespace {

const char* method_name(Method m) {
  switch (m) {
    case Method::kGet:
      return "GET";
    case Method::kHead:
      return "HEAD";
    case Method::kPut:
      return "PUT";
    case Method::kPost:
      return "POST";
    case Method::kDelete:
      return "DELETE";
  }
  return "";
}

}  // namespace

ClientContext::ClientContext(S3Options o, Endpoint e, const Clock& c)
    : options(std::move(o)),
      endpoint(std::move(e)),
      signer(options.region),
      policy(options.retries, options.retry_base_ms),
      clock(c),
      limit(options.http.max_connections, c),
      list_v2(options.list_v2) {}

Result<std::string> Operation::payload_hash(const Attempt& a) {
  // TLS already protects the body; without it the hash does.
  if (context_.endpoint.https() || context_.options.unsigned_payload) return std::string(kUnsignedPayload);
  if (a.body == nullptr || a.body->size() == 0) return std::string(kEmptySha256);
  if (!a.sha256_hex.empty()) return a.sha256_hex;
  return sha256_hex(*a.body);
}

Result<HttpRequest> Operation::build() {
  headers_ = {};
  error_body_.clear();
  if (Status s = check(); !s.ok()) return s.error();
  auto credentials = context_.options.credentials->get();
  if (!credentials.ok()) return credentials.error();
  access_key_used_ = credentials->access_key;
  Attempt a = attempt();
  Endpoint::Target target = context_.endpoint.target(a.key, a.query);
  if (context_.options.requester_pays) a.headers.emplace_back("x-amz-request-payer", "requester");

  SignRequest to_sign;
  to_sign.method = method_name(a.method);
  to_sign.canonical_uri = std::move(target.canonical_uri);
  to_sign.query = std::move(target.query);
  to_sign.headers = a.headers;
  to_sign.headers.emplace_back("host", context_.endpoint.host());
  if (!credentials->anonymous()) {
    auto hash = payload_hash(a);
    if (!hash.ok()) return hash.error();
    to_sign.payload_hash = std::move(*hash);
  }
  const int64_t now_s = context_.clock.wall_s() + context_.clock_offset_s.load(std::memory_order_relaxed);

  HttpRequest out;
  out.method = a.method;
  out.url = std::move(target.url);
  out.headers = std::move(a.headers);
  out.body = body_ = a.body;
  out.slow_answer = a.slow_answer;
  for (auto& header : context_.signer.sign(to_sign, *credentials, now_s))
    out.headers.push_back(std::move(header));
  return out;
}

bool Operation::on_header_line(std::string_view line) {
  if (line != "\r\n" && line != "\n") {
    headers_.add_line(line);
    return true;
  }
  return !success() || on_success_headers();
}

bool Operation::on_body(std::span<const std::byte> data) {
  if (success()) {
    context_.bytes_received.fetch_add(data.size(), std::memory_order_relaxed);
    return on_success_body(data);
  }
  if (error_body_.size() + data.size() > kMaxErrorBody) return false;
  error_body_.append(reinterpret_cast<const char*>(data.data()), data.size());
  return true;
}

ServiceError Operation::service_error(const HttpOutcome& outcome) const {
  ServiceError e;
  e.transport = outcome.transport;
  e.message = outcome.message;
  e.status = headers_.status;
  e.server_date = headers_.date;
  e.region = headers_.bucket_region;
  if (headers_.retry_after_s) e.retry_after_s = *headers_.retry_after_s;
  if (headers_.retry_after_date && headers_.date != 0)
    e.retry_after_s = std::max<int64_t>(0, *headers_.retry_after_date - headers_.date);
  // What the status line said outweighs a body that was cut or too long.
  if (e.status >= 300 && e.transport != Transport::kOk) e.transport = Transport::kRefusedByTask;
  XmlError xml = parse_error_xml(error_body_);
  if (xml.code.empty()) return e;
  e.code = std::move(xml.code);
  e.message = std::move(xml.message);
  e.request_id = std::move(xml.request_id);
  e.condition = std::move(xml.condition);
  if (!xml.region.empty()) e.region = std::move(xml.region);
  return e;
}

int64_t Operation::on_attempt_done(const HttpOutcome& outcome) {
  context_.bytes_sent.fetch_add(static_cast<uint64_t>(outcome.bytes_sent), std::memory_order_relaxed);
  ServiceError why = service_error(outcome);
  // An answer that came before the body's end outweighs the body's own trouble.
  if (outcome.body_error && headers_.status == 0) {
    on_failed(*outcome.body_error);
    return -1;
  }
  if (!success()) return handle_failure(why);
  const Next next = on_success_end(outcome.transport, why);
  if (next == Next::kRetry) return handle_failure(why);
  if (next == Next::kRetryNow) return 0;
  if (context_.limit.on_success()) context_.engine->set_parallelism(context_.limit.limit());
  return -1;
}

bool Operation::correct_clock(const ServiceError& why) {
  const int64_t own_s = context_.clock.wall_s();
  if (skew_corrected_ || !why.clock_skewed(own_s + context_.clock_offset_s.load(std::memory_order_relaxed)))
    return false;
  skew_corrected_ = true;
  context_.clock_offset_s.store(why.server_date - own_s, std::memory_order_relaxed);
  log::warn("the clock of this machine is {} s off the server's; requests are signed with the server's time",
            own_s - why.server_date);
  return true;
}

bool Operation::renew_credentials(const ServiceError& why) {
  if (credentials_renewed_ || !(why.expired_token() || why.unknown_access_key())) return false;
  credentials_renewed_ = true;
  const auto now = context_.options.credentials->get();
  return now.ok() && now->access_key != access_key_used_;
}

int64_t Operation::handle_failure(const ServiceError& why) {
  if (retry_differently(why)) return 0;
  if (correct_clock(why) || renew_credentials(why)) return 0;
  if (why.slow_down() && context_.limit.on_slow_down()) {
    log::info("the server asks to slow down: {} requests in parallel from now", context_.limit.limit());
    context_.engine->set_parallelism(context_.limit.limit());
  }
  if (progressed()) failures_ = 0;
  ++failures_;
  const bool body_changed = why.refuses_digest() && body_ != nullptr && !body_->intact();
  if (body_changed || !why.retryable() || failures_ >= max_attempts()) {
    Error error = why.to_error(what());
    if (error.code != Code::kNotFound && error.code != Code::kStale && error.code != Code::kExists)
      context_.errors.fetch_add(1, std::memory_order_relaxed);
    deliver_error(std::move(error), why);
    return -1;
  }
  context_.retries.fetch_add(1, std::memory_order_relaxed);
  const int64_t delay_ms = context_.policy.delay_ms(failures_, why.slow_down() ? why.retry_after_s : 0);
  log::info("{}; attempt {} of {} in {} ms", why.to_error(what()).message, failures_ + 1, max_attempts(),
            delay_ms);
  return delay_ms;
}

void Operation::on_failed(Error error) {
  ServiceError none;
  none.message = error.message;
  error.message = what() + ": " + error.message;
  if (error.code != Code::kCancelled) context_.errors.fetch_add(1, std::memory_order_relaxed);
  deliver_error(std::move(error), none);
}

}  // namespace s3cache::s3
