// Client: a command's side of the control socket: finds the daemon of a path, asks it, reads its lines.
//
// Threads: one at a time. Owns the connection. Errors: kInvalid (no s3cache mount), kUnavailable (its daemon
// is gone), kAccessDenied (another user's), kUnsupported (another protocol), kTimeout, kCancelled (a signal).
// Each message says what to do. Units: ms.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ctl/mount_table.h"

namespace s3cache::ctl {

// Where a path's daemon listens.
struct Daemon {
  std::string socket;
  std::string device;       // empty: not known, the path was a cache folder
  std::string mount_point;  // empty: ditto
  uid_t owner = 0;
  std::string cache_folder() const { return socket.substr(0, socket.rfind('/')); }
};

// `path`: anywhere in a mount, alive or dead, or the cache folder of one.
Result<Daemon> find_daemon(const std::string& path, const MountTable& mounts);

class Client {
 public:
  static Result<Client> connect(const Daemon& daemon);

  Status ask(const nlohmann::json& request);
  // The next line. kUnavailable: the daemon went away.
  Result<nlohmann::json> next(int64_t timeout_ms);

 private:
  explicit Client(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
  std::string in_;
};

// Asks, and waits for the one line that answers.
Result<nlohmann::json> ask_once(const Daemon& daemon, const nlohmann::json& request);

}  // namespace s3cache::ctl
