#include "s3/write_operation.h"

#include <algorithm>

#include "base/log.h"
#include "s3/xml.h"

namespace s3cache::s3 {

namespace {

bool clean_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

bool clean_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return c > 0x20 && c < 0x7f && c != ':' && (c < 'A' || c > 'Z');
  });
}

bool not_implemented(const ServiceError& why) { return why.status == 501 || why.code == "NotImplemented"; }

}  // namespace

Status check_headers(const SentHeaders& headers) {
  for (const auto& [name, value] : headers)
    if (!clean_name(name) || !clean_value(value))
      return Error{Code::kInvalid, "a header that cannot be sent: " + name};
  return {};
}

Attempt WriteOperation::attempt() {
  answer_.clear();
  too_long_ = false;
  checksum_sent_ = false;
  return request();
}

bool WriteOperation::use_checksum(bool wanted) {
  checksum_sent_ = wanted && !without_checksum_ && context_.checksums.load(std::memory_order_relaxed);
  return checksum_sent_;
}

bool WriteOperation::on_success_body(std::span<const std::byte> data) {
  too_long_ = answer_.size() + data.size() > max_answer_;
  if (too_long_) return false;
  answer_.append(reinterpret_cast<const char*>(data.data()), data.size());
  return true;
}

Operation::Next WriteOperation::fail_corrupt(std::string message) {
  context_.errors.fetch_add(1, std::memory_order_relaxed);
  deliver_error(Error{Code::kCorrupt, what() + ": " + std::move(message)}, {});
  return Next::kDone;
}

Operation::Next WriteOperation::on_success_end(Transport transport, ServiceError& why) {
  if (too_long_) return fail_corrupt("an answer of more than " + std::to_string(max_answer_) + " bytes");
  if (transport != Transport::kOk) return Next::kRetry;
  if (!answer_.empty()) {
    // The server said 200 before it began, and failed later.
    XmlError xml = parse_error_xml(answer_);
    if (!xml.code.empty()) {
      why.code = std::move(xml.code);
      why.message = std::move(xml.message);
      why.condition = std::move(xml.condition);
      why.request_id = std::move(xml.request_id);
      return Next::kRetry;
    }
  }
  // Remembered only now: a server that refuses this request without checksums, too, has another reason.
  if (without_checksum_ && context_.checksums.exchange(false))
    log::warn("the server does not take checksums in headers; uploads go without from now on");
  return finish(why);
}

bool WriteOperation::retry_differently(const ServiceError& why) {
  if (!checksum_sent_ || !why.refuses_checksum()) return false;
  log::info("{}: the server says \"{}\"; once more without checksums", what(), why.message);
  without_checksum_ = true;
  return true;
}

void WriteCondition::add_to(HeaderList& headers) const {
  if (if_none_match) headers.emplace_back("if-none-match", "*");
  if (!if_match.empty()) headers.emplace_back("if-match", "\"" + if_match + "\"");
}

WrittenOperation::WrittenOperation(ClientContext& context, std::string key, WriteCondition condition,
                                   WrittenCallback done)
    : WriteOperation(context),
      key_(std::move(key)),
      condition_(std::move(condition)),
      done_(std::move(done)) {}

const SentHeaders& WrittenOperation::sent_headers() const {
  static const SentHeaders kNone;
  return kNone;
}

Status WrittenOperation::check() const {
  if (key_.empty()) return Error{Code::kInvalid, "no key"};
  if (condition_.if_none_match && !condition_.if_match.empty())
    return Error{Code::kInvalid, "two conditions that exclude each other"};
  if (Status s = check_headers(sent_headers()); !s.ok()) return s;
  if (condition_.any() && !context_.conditions.load(std::memory_order_relaxed))
    return Error{Code::kUnsupported, "the server does not know conditions of writes"};
  return {};
}

Attempt WrittenOperation::attempt() {
  if (refusal_) {
    Attempt look;
    look.method = Method::kHead;
    look.key = key_;
    return look;
  }
  Attempt a = WriteOperation::attempt();
  condition_.add_to(a.headers);
  return a;
}

Written WrittenOperation::from_headers() const {
  Written w;
  w.etag = headers_.etag;
  w.server_date = headers_.date;
  return w;
}

Operation::Next WrittenOperation::on_success_end(Transport transport, ServiceError& why) {
  if (!refusal_) return WriteOperation::on_success_end(transport, why);
  if (transport != Transport::kOk) return Next::kRetry;
  if (headers_.etag != expected_) {
    done_(std::move(*refusal_));
    return Next::kDone;
  }
  log::info("{}: done by an attempt whose answer was lost", what());
  Written w = from_headers();
  w.last_modified = headers_.last_modified;
  done_(std::move(w));
  return Next::kDone;
}

bool WrittenOperation::own_condition_failed(const ServiceError& why) const {
  return condition_.any() && (why.status == 412 || why.code == "PreconditionFailed");
}

bool WrittenOperation::refused_as_repeated(const ServiceError& why) const {
  return own_condition_failed(why);
}

Error WrittenOperation::refusal(const ServiceError& why) const {
  Error error = why.to_error(what());
  if (own_condition_failed(why)) error.code = condition_.if_none_match ? Code::kExists : Code::kStale;
  return error;
}

bool WrittenOperation::look_first(const ServiceError& why) {
  if (!maybe_done_ || !refused_as_repeated(why)) return false;
  auto expected = expected_etag();
  if (!expected.ok()) return false;  // deliver_error() says so
  refusal_ = refusal(why);
  expected_ = std::move(*expected);
  return true;
}

void WrittenOperation::remember_condition_refused(const ServiceError& why) {
  if (!condition_.any() || !not_implemented(why)) return;
  if (context_.conditions.exchange(false))
    log::warn("the server does not know If-Match and If-None-Match of writes ({})", why.message);
}

bool WrittenOperation::retry_differently(const ServiceError& why) {
  if (refusal_) return false;
  if (WriteOperation::retry_differently(why)) return true;
  remember_condition_refused(why);
  if (look_first(why)) return true;
  maybe_done_ = maybe_done_ || why.maybe_done();
  return false;
}

void WrittenOperation::deliver_error(Error error, const ServiceError& why) {
  if (refusal_) {
    // It is not there, so nothing was done; any other trouble leaves that open.
    done_(error.code == Code::kNotFound ? std::move(*refusal_) : std::move(error));
    return;
  }
  if (own_condition_failed(why)) error = refusal(why);
  if (maybe_done_ && refused_as_repeated(why)) {
    const auto expected = expected_etag();
    error.message += "; an earlier attempt, whose answer was lost, may have done it";
    if (!expected.ok()) error.message += ": " + expected.error().message;
  }
  done_(std::move(error));
}

}  // namespace s3cache::s3
