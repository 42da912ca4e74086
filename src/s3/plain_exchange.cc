#include "s3/plain_exchange.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "s3/response_headers.h"

namespace s3cache::s3 {

namespace {

// S3 closes idle connections after 5 to 20 s; the same as for curl's.
constexpr int64_t kMaxIdleMs = 15'000;
// Below this over the deadline's time counts as no progress; the same as for curl.
constexpr int64_t kLowSpeedBytes = 256;
// One connection reads this often before its neighbours have their turn.
constexpr int kRounds = 4;

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r' || s.back() == '\n'))
    s.remove_suffix(1);
  return s;
}

// Calls fn(line), line ends included, until it says no.
template <class Fn>
bool each_line(std::string_view block, const Fn& fn) {
  while (!block.empty()) {
    const size_t end = block.find('\n');
    const size_t n = end == std::string_view::npos ? block.size() : end + 1;
    if (!fn(block.substr(0, n))) return false;
    block.remove_prefix(n);
  }
  return true;
}

}  // namespace

std::optional<std::string> plain_origin(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (url.substr(0, kScheme.size()) != kScheme) return std::nullopt;
  const std::string_view origin = url.substr(0, url.find_first_of("/?#", kScheme.size()));
  if (origin.size() == kScheme.size() || origin.find('@') != std::string_view::npos) return std::nullopt;
  return std::string(origin);
}

PlainExchange::PlainExchange(UniqueFd socket, std::string origin, const HttpOptions& options)
    : socket_(std::move(socket)),
      origin_(std::move(origin)),
      deadline_ms_(int64_t{1000} * options.readwrite_timeout_s),
      user_agent_(options.user_agent) {
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

short PlainExchange::events() const { return sent_ < out_.size() ? POLLOUT | POLLIN : POLLIN; }

bool PlainExchange::usable(int64_t now_ms) const {
  if (now_ms - idle_since_ms_ > kMaxIdleMs) return false;
  char c = 0;
  return ::recv(socket_.get(), &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void PlainExchange::begin(const HttpRequest& request, HttpTask* task, int64_t now_ms) {
  task_ = task;
  const std::string_view url = request.url;
  std::string_view path = url.substr(origin_.size());
  out_ = "GET ";
  if (path.empty() || path.front() != '/') out_ += '/';
  out_.append(path).append(" HTTP/1.1\r\nHost: ").append(origin_, 7);
  if (!user_agent_.empty()) out_.append("\r\nUser-Agent: ").append(user_agent_);
  out_ += "\r\nAccept: */*\r\n";
  for (const auto& [name, value] : request.headers)
    out_.append(name).append(": ").append(value).append("\r\n");
  out_ += "\r\n";
  sent_ = 0;
  head_.clear();
  in_body_ = heard_ = reusable_ = false;
  keep_ = true;
  left_ = bytes_ = mark_bytes_ = 0;
  mark_ms_ = now_ms;
  outcome_ = {};
}

PlainExchange::Step PlainExchange::end(Transport transport, std::string message) {
  outcome_.transport = transport;
  outcome_.message = std::move(message);
  reusable_ = transport == Transport::kOk && keep_ && left_ == 0 && sent_ == out_.size();
  first_ = false;
  task_ = nullptr;
  return Step::kDone;
}

PlainExchange::Step PlainExchange::broken(const char* what, int error) {
  if (!first_ && !heard_) return Step::kDead;
  return end(Transport::kReset, error != 0 ? std::string(what) + ": " + std::strerror(error) : what);
}

PlainExchange::Step PlainExchange::send_request() {
  while (sent_ < out_.size()) {
    const ssize_t n = ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return broken("send", errno);
    sent_ += static_cast<size_t>(n);
  }
  return Step::kMore;
}

PlainExchange::Step PlainExchange::pump(int64_t now_ms) {
  if (sent_ < out_.size()) {
    if (const Step s = send_request(); s != Step::kMore) return s;
  }
  const Step s = receive();
  if (s == Step::kDone) idle_since_ms_ = now_ms;
  return s;
}

PlainExchange::Step PlainExchange::receive() {
  for (int round = 0; round < kRounds; ++round) {
    std::span<std::byte> to = in_body_ ? task_->body_space() : std::span<std::byte>();
    if (to.empty()) to = buffer_;
    // Never past the body: what follows it belongs to nobody.
    if (in_body_)
      to = to.first(static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(to.size()), left_)));
    const ssize_t n = ::recv(socket_.get(), to.data(), to.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return Step::kMore;
    if (n < 0) return broken("recv", errno);
    if (n == 0) return broken(heard_ ? "the connection was closed in the middle" : "no answer came", 0);
    heard_ = true;
    bytes_ += n;
    const auto got = static_cast<size_t>(n);
    const Step s = in_body_ ? take_body(to.first(got)) : receive_headers(to.first(got));
    if (s != Step::kMore) return s;
    // Less than there was room for: the socket is empty.
    if (got < to.size()) return Step::kMore;
  }
  return Step::kMore;
}

PlainExchange::Step PlainExchange::receive_headers(std::span<const std::byte> data) {
  head_.append(reinterpret_cast<const char*>(data.data()), data.size());
  while (!in_body_) {
    constexpr std::string_view kProtocol = "HTTP/1.";
    const std::string_view begin = std::string_view(head_).substr(0, kProtocol.size());
    if (begin != kProtocol.substr(0, begin.size())) return other("another protocol");
    const size_t end = head_.find("\r\n\r\n");
    const size_t block = end == std::string::npos ? head_.size() : end + 4;
    if (block > kMaxHeaderBytes) return this->end(Transport::kRefusedByTask, "too many headers");
    if (end == std::string::npos)
      return head_.find("\n\n") == std::string::npos ? Step::kMore : other("lines end without a CR");
    if (const Step s = header_block(std::string_view(head_).substr(0, block)); s != Step::kMore) return s;
    head_.erase(0, block);
  }
  const std::string rest = std::exchange(head_, {});
  const auto body = static_cast<size_t>(std::min<int64_t>(left_, static_cast<int64_t>(rest.size())));
  if (body < rest.size()) keep_ = false;  // more than it announced
  return take_body(std::as_bytes(std::span(rest)).first(body));
}

// A complete block: of a 1xx, which another follows, or of the answer.
PlainExchange::Step PlainExchange::header_block(std::string_view block) {
  if (!parse_framing(block)) return other("a body that one Content-Length does not frame");
  in_body_ = status_ >= 200;
  const bool go_on = each_line(block, [&](std::string_view line) { return task_->on_header_line(line); });
  return go_on ? Step::kMore : end(Transport::kRefusedByTask, {});
}

// Status, length and whether the connection stays. False: curl knows better.
bool PlainExchange::parse_framing(std::string_view block) {
  status_ = 0;
  bool length_known = false;
  bool plain = true;
  each_line(block, [&](std::string_view line) {
    if (status_ == 0) {
      keep_ = line.substr(0, 8) == "HTTP/1.1";
      status_ = static_cast<int>(parse_size(line.substr(std::min<size_t>(line.size(), 9), 3)).value_or(-1));
      length_known = status_ == 204 || status_ == 304;  // they have no body
      return plain = status_ >= 100 && status_ != 101;
    }
    const size_t colon = line.find(':');
    const std::string name = lower(trim(line.substr(0, colon)));
    const std::string_view value = colon == std::string_view::npos ? "" : trim(line.substr(colon + 1));
    if (name == "content-length") {
      const auto length = parse_size(value);
      plain = plain && length && !length_known;
      length_known = true;
      left_ = length.value_or(0);
    } else if (name == "transfer-encoding" || line.front() == ' ' || line.front() == '\t') {
      plain = false;
    } else if (name == "connection") {
      keep_ = keep_ && lower(value) != "close";
    }
    return true;
  });
  return plain && (status_ < 200 || length_known);
}

PlainExchange::Step PlainExchange::take_body(std::span<const std::byte> data) {
  left_ -= static_cast<int64_t>(data.size());
  if (!data.empty() && !task_->on_body(data)) return end(Transport::kRefusedByTask, {});
  return left_ == 0 ? end(Transport::kOk, {}) : Step::kMore;
}

PlainExchange::Step PlainExchange::other(const char* why) {
  outcome_.message = why;
  return Step::kOther;
}

bool PlainExchange::overdue(int64_t now_ms) {
  if (now_ms - mark_ms_ < deadline_ms_) return false;
  const bool slow = bytes_ - mark_bytes_ < kLowSpeedBytes * (deadline_ms_ / 1000);
  mark_ms_ = now_ms;
  mark_bytes_ = bytes_;
  if (slow) end(Transport::kTimeout, "no progress for " + std::to_string(deadline_ms_ / 1000) + " s");
  return slow;
}

}  // namespace s3cache::s3
