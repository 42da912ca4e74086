// Registry: from a mount's device number to its control socket, which lies in the cache folder wherever that
// is.
//
// A folder with one symlink a mount, named by its device number ("0:57"), to the socket. Root's is
// /run/s3cache; a plain user's is /run/user/UID/s3cache, or /tmp/s3cache-UID where there is no such thing.
// The kernel numbers mounts, so several of one bucket, private cache folders and bind mounts are all found. A
// link that a kill left behind leads to a socket nobody listens on, or to one that greets with another number
// (client.h compares). Threads: any. Errors: kNotFound, kAccessDenied.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace s3cache::ctl {

std::vector<std::string> registry_folders(uid_t owner);

// One mount's link, as long as it lives.
class Registration {
 public:
  static Result<std::unique_ptr<Registration>> publish(const std::string& device, const std::string& socket,
                                                       const std::vector<std::string>& folders);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  Registration(std::string link, std::string socket) : link_(std::move(link)), socket_(std::move(socket)) {}
  const std::string link_, socket_;
};

// Where the link of that device leads. kNotFound: there is none.
Result<std::string> registered_socket(const std::string& device, uid_t owner,
                                      const std::vector<std::string>& folders);

}  // namespace s3cache::ctl
