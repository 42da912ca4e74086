#include "s3/get_operation.h"

#include <algorithm>

namespace s3cache::s3 {

namespace {

// A transfer that got this far since its last failure starts counting failures anew; less, and a server that
// sends one byte a connection would keep us busy for ever.
constexpr int64_t kProgressBytes = 1024 * 1024;

}  // namespace

GetOperation::GetOperation(ClientContext& context, GetRequest request, std::shared_ptr<GetSink> sink)
    : Operation(context),
      request_(std::move(request)),
      sink_(std::move(sink)),
      direct_(dynamic_cast<DirectSink*>(sink_.get())),
      next_(request_.offset),
      progress_mark_(request_.offset) {}

std::string GetOperation::what() const { return "GET " + request_.key; }

Attempt GetOperation::attempt() {
  Attempt a;
  a.key = request_.key;
  const bool to_end = request_.length < 0 && !info_;
  if (next_ > 0 || !to_end) {
    std::string range = "bytes=" + std::to_string(next_) + "-";
    if (info_)
      range += std::to_string(end_ - 1);
    else if (request_.length > 0)
      range += std::to_string(next_ + std::min(request_.length, INT64_MAX - next_) - 1);
    a.headers.emplace_back("range", std::move(range));
  }
  const std::string& etag = info_ && !info_->etag.empty() ? info_->etag : request_.if_match;
  if (!etag.empty()) a.headers.emplace_back("if-match", "\"" + etag + "\"");
  return a;
}

bool GetOperation::fail(Error error) {
  error.message = what() + ": " + error.message;
  final_ = std::move(error);
  return false;
}

Result<ContentRange> GetOperation::answered_range() const {
  const auto corrupt = [](const char* text) { return Error{Code::kCorrupt, text}; };
  if (headers_.bad_length) return corrupt("a length or range header that makes no sense");
  if (headers_.status == 206) {
    if (!headers_.content_range) return corrupt("206 without Content-Range");
    const ContentRange r = *headers_.content_range;
    if (headers_.content_length && *headers_.content_length != r.last - r.first + 1)
      return corrupt("Content-Length and Content-Range contradict each other");
    return r;
  }
  if (headers_.status != 200) return corrupt("an answer that is neither 200 nor 206");
  if (!headers_.content_length) return corrupt("200 without Content-Length");
  // The whole object: fine if that is what the range meant, too.
  const int64_t total = *headers_.content_length;
  if (next_ != 0) return corrupt("200 with the whole object, a range was asked for");
  if (request_.length >= 0 && total > request_.length)
    return corrupt("200 with more than the range asked for");
  return ContentRange{0, total - 1, total};
}

Status GetOperation::check_version(int64_t total) const {
  const std::string& expected = info_ && !info_->etag.empty() ? info_->etag : request_.if_match;
  if (!expected.empty() && headers_.etag.empty()) return Error{Code::kCorrupt, "an answer without an ETag"};
  if (!expected.empty() && headers_.etag != expected) return Error{Code::kStale, "the object was replaced"};
  if (!info_) return {};
  // Servers without ETags: size and time have to do.
  if (info_->size != total || info_->etag != headers_.etag || info_->last_modified != headers_.last_modified)
    return Error{Code::kStale, "the object was replaced while it was read"};
  return {};
}

bool GetOperation::on_success_headers() {
  const auto range = answered_range();
  if (!range.ok()) return fail(range.error());
  const int64_t total = range->total;
  const int64_t wanted_end =
      request_.length < 0 ? total : request_.offset + std::min(request_.length, total - request_.offset);
  if (Status s = check_version(total); !s.ok()) return fail(s.error());
  if (range->first != next_ || range->last != wanted_end - 1)
    return fail({Code::kCorrupt, "asked for bytes " + std::to_string(next_) + "-" +
                                     std::to_string(wanted_end - 1) + ", was given " +
                                     std::to_string(range->first) + "-" + std::to_string(range->last)});
  if (info_) return true;
  end_ = wanted_end;
  info_ = headers_.object_info();
  info_->size = total;
  if (!sink_->on_headers(*info_)) return fail({Code::kCancelled, "cancelled by the reader"});
  return true;
}

std::span<std::byte> GetOperation::body_space() {
  if (direct_ == nullptr || headers_.status < 200 || headers_.status > 299 || next_ >= end_) return {};
  const auto space = direct_->space(next_);
  return space.first(
      static_cast<size_t>(std::min<int64_t>(end_ - next_, static_cast<int64_t>(space.size()))));
}

bool GetOperation::on_success_body(std::span<const std::byte> data) {
  if (static_cast<int64_t>(data.size()) > end_ - next_)
    return fail({Code::kCorrupt, "more bytes than announced"});
  const int64_t offset = next_;
  next_ += static_cast<int64_t>(data.size());
  if (!sink_->on_data(offset, data)) return fail({Code::kCancelled, "cancelled by the reader"});
  return true;
}

Operation::Next GetOperation::on_success_end(Transport transport, ServiceError& why) {
  if (final_) {
    if (final_->code == Code::kCorrupt) context_.errors.fetch_add(1, std::memory_order_relaxed);
    sink_->on_done(std::move(*final_));
    return Next::kDone;
  }
  if (info_ && next_ == end_) {
    // All bytes are here; how the connection ended does not matter.
    sink_->on_done({});
    return Next::kDone;
  }
  if (transport == Transport::kOk || transport == Transport::kRefusedByTask)
    why.transport = Transport::kReset;
  if (why.message.empty()) why.message = "the body ended early";
  return Next::kRetry;
}

void GetOperation::deliver_error(Error error, const ServiceError&) { sink_->on_done(std::move(error)); }

bool GetOperation::progressed() {
  if (next_ - progress_mark_ < kProgressBytes) return false;
  progress_mark_ = next_;
  return true;
}

HeadOperation::HeadOperation(ClientContext& context, std::string key, HeadCallback done)
    : Operation(context), key_(std::move(key)), done_(std::move(done)) {}

std::string HeadOperation::what() const { return "HEAD " + key_; }

Attempt HeadOperation::attempt() {
  Attempt a;
  a.method = Method::kHead;
  a.key = key_;
  return a;
}

Operation::Next HeadOperation::on_success_end(Transport transport, ServiceError&) {
  if (transport != Transport::kOk) return Next::kRetry;
  if (headers_.bad_length || !headers_.content_length) {
    context_.errors.fetch_add(1, std::memory_order_relaxed);
    done_(Error{Code::kCorrupt, what() + ": no Content-Length that makes sense"});
    return Next::kDone;
  }
  ObjectInfo info = headers_.object_info();
  info.size = *headers_.content_length;
  done_(std::move(info));
  return Next::kDone;
}

void HeadOperation::deliver_error(Error error, const ServiceError&) { done_(std::move(error)); }

}  // namespace s3cache::s3
