// ControlServer: the daemon's control socket, one thread for all its clients.
//
// The socket lies in the cache folder, mode 0600; whoever connects must be this user or root (SO_PEERCRED).
// At most 16 clients, a line of 64 KiB each way, 10 s to ask: a client that is slow, silent or talks nonsense
// loses its connection and nothing else. Threads: start() and the destructor on one thread, the rest on any;
// the file system is asked on the server's thread only, which waits for nobody. Owns: the socket and its
// file. Borrows the file system. Errors: kIo, kAccessDenied, kNoSpace.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "core/filesystem.h"
#include "ctl/protocol.h"

namespace s3cache::ctl {

class Connection;

class ControlServer {
 public:
  static constexpr size_t kMaxClients = 16;
  static constexpr int64_t kPatienceMs = 10'000;  // until a client has asked, or has taken its answer

  // folder: the cache folder; the socket is `control` in it.
  static Result<std::unique_ptr<ControlServer>> start(const std::string& folder, MountInfo mount,
                                                      core::Filesystem& filesystem, const Clock& clock);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // The kernel's side is gone; what is left goes up. For status.
  void set_unmounting() { unmounting_ = true; }

 private:
  ControlServer(std::string folder, MountInfo mount, core::Filesystem& filesystem, const Clock& clock);
  Status listen();
  void run();
  void accept_clients();
  std::string status_now(const char* event);
  void serve(Connection& client);
  void answer(Connection& client, const std::string& line);
  void follow_sync(Connection& client);

  const std::string folder_;
  const MountInfo mount_;
  core::Filesystem& filesystem_;
  const Clock& clock_;
  UniqueFd listener_;
  const std::shared_ptr<UniqueFd> wake_;  // an eventfd; callbacks of the file system hold it too
  std::atomic<bool> stopping_{false}, unmounting_{false};
  std::vector<std::unique_ptr<Connection>> clients_;  // of the thread, as the next
  int64_t accept_at_ms_ = 0;
  std::thread thread_;
};

}  // namespace s3cache::ctl
