// Unix sockets at paths of any length: sun_path takes 107 bytes, a cache folder's path may be longer. The
// folder is opened and named by its descriptor. Threads: any. Errors: what bind(2) and connect(2) say.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace s3cache::ctl {

// Listening, mode 0600, in place of what an earlier process left there.
Result<UniqueFd> listen_at(const std::string& path);
// kUnavailable: nobody listens there. Blocking reads and writes.
Result<UniqueFd> connect_to(const std::string& path);
// Who is on the other side of a connected socket.
std::optional<uid_t> peer_uid(int socket);

}  // namespace s3cache::ctl
