#include "ctl/connection.h"

#include <sys/socket.h>

#include <cerrno>

#include "ctl/protocol.h"

namespace s3cache::ctl {

std::optional<std::string> Connection::read_line() {
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      in_.append(buffer, static_cast<size_t>(n));
      if (in_.size() > kMaxLine) broken_ = true;
      if (broken_) return std::nullopt;
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) broken_ = true;
    break;
  }
  const size_t end = in_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = in_.substr(0, end);
  in_.erase(0, end + 1);
  return line;
}

void Connection::send_line(const std::string& line) {
  out_ += line;
  out_ += '\n';
  flush();
}

void Connection::send_last(const std::string& line, int64_t deadline_ms) {
  last_ = true;
  deadline_ms_ = deadline_ms;
  send_line(line);
}

void Connection::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(socket_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (errno != EAGAIN) broken_ = true;
      return;
    }
    out_.erase(0, static_cast<size_t>(n));
  }
}

}  // namespace s3cache::ctl
