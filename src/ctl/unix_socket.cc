#include "ctl/unix_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace s3cache::ctl {

namespace {

constexpr int kBacklog = 16;

// The socket's short name: in a folder by its descriptor.
struct Place {
  UniqueFd folder;
  sockaddr_un address{};
};

Result<Place> place_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Place place;
  place.folder.reset(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.folder) return errno_error(errno, folder);
  const std::string name = fmt::format("/proc/self/fd/{}/{}", place.folder.get(), path.substr(slash + 1));
  place.address.sun_family = AF_UNIX;
  if (name.size() >= sizeof place.address.sun_path) return errno_error(ENAMETOOLONG, path);
  std::memcpy(place.address.sun_path, name.c_str(), name.size() + 1);
  return place;
}

Result<UniqueFd> unix_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "control socket");
  return fd;
}

}  // namespace

Result<UniqueFd> listen_at(const std::string& path) {
  auto place = place_of(path);
  if (!place.ok()) return place.error();
  auto fd = unix_socket();
  if (!fd.ok()) return fd;
  ::unlink(path.c_str());
  const auto* address = reinterpret_cast<const sockaddr*>(&place->address);
  if (::bind(fd->get(), address, sizeof place->address) != 0) return errno_error(errno, "bind " + path);
  // The folder is its owner's alone; before this chmod nobody else gets through to it either.
  if (::chmod(path.c_str(), 0600) != 0) return errno_error(errno, "chmod " + path);
  if (::listen(fd->get(), kBacklog) != 0) return errno_error(errno, "listen on " + path);
  return fd;
}

Result<UniqueFd> connect_to(const std::string& path) {
  auto place = place_of(path);
  if (!place.ok()) return place.error();
  auto fd = unix_socket();
  if (!fd.ok()) return fd;
  const auto* address = reinterpret_cast<const sockaddr*>(&place->address);
  if (::connect(fd->get(), address, sizeof place->address) == 0) return fd;
  if (errno == ECONNREFUSED) return Error{Code::kUnavailable, "nobody listens on " + path};
  return errno_error(errno, "connect to " + path);
}

std::optional<uid_t> peer_uid(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  return peer.uid;
}

}  // namespace s3cache::ctl
