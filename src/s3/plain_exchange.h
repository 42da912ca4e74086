// PlainExchange: one GET over a plain TCP connection, its body received right where it belongs.
//
// libcurl reads into its own buffer and hands out 16 KiB pieces, each of which has to be copied: 0.2 CPU
// seconds a GiB. So for http:// without a proxy curl makes the connection only (names, addresses, deadlines),
// and this class does the little of HTTP/1.1 that a GET takes. Everything unusual in an answer's framing (no
// or several Content-Lengths, chunks, another protocol) is left to curl: the request is sent again through
// it.
//
// Threads: of its network thread only. Owns: the socket. The task is borrowed from begin() to kDone.
// Errors: in outcome(). Units: bytes, ms of the monotonic clock.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "s3/http_task.h"
#include "s3/options.h"

namespace s3cache::s3 {

// "http://host:port" of a URL; nullopt where curl has to do it: another scheme, or a login in the URL.
std::optional<std::string> plain_origin(std::string_view url);

class PlainExchange {
 public:
  // `socket` is connected; it becomes non-blocking.
  PlainExchange(UniqueFd socket, std::string origin, const HttpOptions& options);

  const std::string& origin() const { return origin_; }
  int fd() const { return socket_.get(); }
  short events() const;  // what to poll for
  // Between requests: young enough, and the server has neither closed it nor said anything.
  bool usable(int64_t now_ms) const;

  void begin(const HttpRequest& request, HttpTask* task, int64_t now_ms);
  enum class Step : uint8_t {
    kMore,   // poll again
    kDone,   // see outcome() and reusable()
    kDead,   // a connection that was used before ended without a byte: once more on a new one
    kOther,  // an answer for curl to read; outcome().message says why
  };
  // Sends and receives what goes without waiting.
  Step pump(int64_t now_ms);
  // No progress for too long, by the rule that curl applies to its own transfers.
  bool overdue(int64_t now_ms);

  const HttpOutcome& outcome() const { return outcome_; }
  bool reusable() const { return reusable_; }
  bool successful() const { return status_ >= 200 && status_ <= 299; }

 private:
  // The bounds of one answer's header block: S3's real ones are under 4 KiB.
  static constexpr size_t kMaxHeaderBytes = 64 * 1024;
  static constexpr size_t kRead = 16 * 1024;

  Step send_request();
  Step receive();
  Step receive_headers(std::span<const std::byte> data);
  Step header_block(std::string_view block);
  bool parse_framing(std::string_view block);
  Step take_body(std::span<const std::byte> data);
  Step other(const char* why);
  Step broken(const char* what, int error);
  Step end(Transport transport, std::string message);

  UniqueFd socket_;
  const std::string origin_;
  const int64_t deadline_ms_;
  const std::string user_agent_;
  HttpTask* task_ = nullptr;
  std::string out_;  // the request
  size_t sent_ = 0;
  std::string head_;  // of the answer, until its end
  bool in_body_ = false;
  bool first_ = true;   // of this connection
  bool heard_ = false;  // a byte of this answer came
  bool keep_ = true;    // the server keeps the connection
  bool reusable_ = false;
  int status_ = 0;
  int64_t left_ = 0;  // of the body
  int64_t mark_ms_ = 0, mark_bytes_ = 0, bytes_ = 0;
  int64_t idle_since_ms_ = 0;
  HttpOutcome outcome_;
  std::array<std::byte, kRead> buffer_;
};

}  // namespace s3cache::s3
