// HostileServer: a plain socket server on 127.0.0.1 that says exactly what a test tells it to, right or
// wrong.
//
// The handler gets each request (header block and body) with its number and writes raw bytes. Keep-alive
// until it closes. With Wants::kHeadersOnly it is called before the body came, and reads it itself or closes.
// Threads: one accepts, one a connection; the destructor joins them all.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "base/sync.h"
#include "base/unique_fd.h"

namespace s3cache::s3 {

class HostileConnection {
 public:
  HostileConnection(int fd, const std::atomic<bool>& stopping, std::string& in)
      : fd_(fd), stopping_(stopping), in_(in) {}

  bool send(const std::string& bytes) {
    size_t at = 0;
    while (at < bytes.size()) {
      const ssize_t n = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return false;
      at += static_cast<size_t>(n);
    }
    return true;
  }
  // Status, headers and body with a true Content-Length.
  bool answer(int status, const std::string& headers, const std::string& body) {
    return send("HTTP/1.1 " + std::to_string(status) +
                " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body);
  }
  // With Wants::kHeadersOnly: reads `n` bytes of the body. False: the client hung up before.
  bool read_body(size_t n) {
    char buffer[65536];
    while (in_.size() < n && !stopping_) {
      pollfd p{fd_, POLLIN, 0};
      if (poll(&p, 1, 20) <= 0) continue;
      const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) return false;
      in_.append(buffer, static_cast<size_t>(got));
    }
    in_.erase(0, n);
    return true;
  }
  void close() { open_ = false; }
  // RST instead of FIN.
  void reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    open_ = false;
  }
  // Blocks until the client hangs up or the test ends.
  void wait_for_hangup() {
    char c;
    pollfd p{fd_, POLLIN, 0};
    while (!stopping_)
      if (poll(&p, 1, 20) > 0 && recv(fd_, &c, 1, 0) <= 0) break;
    open_ = false;
  }
  bool open() const { return open_; }

 private:
  const int fd_;
  const std::atomic<bool>& stopping_;
  std::string& in_;
  bool open_ = true;
};

class HostileServer {
 public:
  using Handler = std::function<void(HostileConnection&, const std::string& request, int number)>;
  enum class Wants { kAll, kHeadersOnly };

  explicit HostileServer(Handler handler, Wants wants = Wants::kAll)
      : handler_(std::move(handler)), wants_(wants) {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof a;
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&a), n) != 0 || listen(listener_.get(), 64) != 0)
      abort();
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&a), &n);
    port_ = ntohs(a.sin_port);
    acceptor_ = std::thread([this] { accept_loop(); });
  }
  ~HostileServer() {
    stopping_ = true;
    acceptor_.join();
    for (auto& t : connections_) t.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int requests() const { return requests_; }
  int connections() const { return accepted_; }
  std::vector<std::string> log() {
    MutexLock l(mu_);
    return log_;
  }

 private:
  // Of the request that `in` starts with, npos while it is not there.
  size_t request_size(const std::string& in) const {
    const size_t end = in.find("\r\n\r\n");
    if (end == std::string::npos || wants_ == Wants::kHeadersOnly)
      return end == std::string::npos ? end : end + 4;
    const size_t at = in.find("\r\nContent-Length: ");
    const size_t body = at < end ? std::stoul(in.substr(at + 18)) : 0;
    return in.size() >= end + 4 + body ? end + 4 + body : std::string::npos;
  }
  void accept_loop() {
    while (!stopping_) {
      pollfd p{listener_.get(), POLLIN, 0};
      if (poll(&p, 1, 20) <= 0) continue;
      const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      ++accepted_;
      connections_.emplace_back([this, fd] { serve(UniqueFd(fd)); });
    }
  }
  void serve(UniqueFd fd) {
    std::string in;
    HostileConnection c(fd.get(), stopping_, in);
    while (!stopping_ && c.open()) {
      const size_t size = request_size(in);
      if (size != std::string::npos) {
        const std::string request = in.substr(0, size);
        in.erase(0, size);
        {
          MutexLock l(mu_);
          log_.push_back(request);
        }
        handler_(c, request, requests_++);
        continue;
      }
      pollfd p{fd.get(), POLLIN, 0};
      if (poll(&p, 1, 20) <= 0) continue;
      char buffer[65536];
      const ssize_t n = recv(fd.get(), buffer, sizeof buffer, 0);
      if (n <= 0) return;
      in.append(buffer, static_cast<size_t>(n));
    }
  }

  const Handler handler_;
  const Wants wants_;
  UniqueFd listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::atomic<int> accepted_{0};
  Mutex mu_;
  std::vector<std::string> log_ GUARDED_BY(mu_);
  std::list<std::thread> connections_;  // of the acceptor, then of the destructor
  std::thread acceptor_;
};

}  // namespace s3cache::s3
