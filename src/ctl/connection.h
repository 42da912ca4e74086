// Connection: one client of the control socket as the server sees it: bytes in, bytes out, a deadline.
//
// Threads: the server's only. Owns: the socket. Never blocks. Errors: closed() says that it is over.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "core/sync_wait.h"

namespace s3cache::ctl {

class Connection {
 public:
  Connection(UniqueFd socket, int64_t deadline_ms) : socket_(std::move(socket)), deadline_ms_(deadline_ms) {}

  int fd() const { return socket_.get(); }
  // Reads what has come. A line, without its end, if one is complete.
  std::optional<std::string> read_line();
  void send_line(const std::string& line);
  // The last line: the connection closes once it is taken.
  void send_last(const std::string& line, int64_t deadline_ms);
  // Writes what can be written.
  void flush();

  bool wants_to_write() const { return !out_.empty(); }
  bool closed(int64_t now_ms) const { return broken_ || (last_ && out_.empty()) || now_ms >= deadline_ms_; }
  // It asked for something that takes its time.
  void no_deadline() { deadline_ms_ = INT64_MAX; }

  std::unique_ptr<core::SyncWait> sync;  // what it waits for
  int64_t next_progress_ms = 0;

 private:
  const UniqueFd socket_;
  std::string in_, out_;
  int64_t deadline_ms_;
  bool broken_ = false;  // gone, or talks nonsense
  bool last_ = false;
};

}  // namespace s3cache::ctl
