#include "ctl/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "ctl/protocol.h"
#include "ctl/registry.h"
#include "ctl/unix_socket.h"

namespace s3cache::ctl {

using nlohmann::json;

namespace {

constexpr int64_t kAnswerMs = 10'000;

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Error gone(const std::string& mount_point) {
  return {Code::kUnavailable, mount_point.empty() ? "its daemon is not running"
                                                  : fmt::format("{}: its daemon is gone: fusermount3 -u {}",
                                                                mount_point, mount_point)};
}

Error of_another(const std::string& mount_point, uid_t owner) {
  return {Code::kAccessDenied,
          fmt::format("{} was mounted by user {}: ask as that user, or as root", mount_point, owner)};
}

// A FUSE mount that has no control link: whose is it?
Error no_link(const MountEntry& mount, const Error& why) {
  struct statvfs unused {};
  const bool ours = mount.type == "fuse.s3cache" || mount.type == "fuse.s3fs";
  if (ours && why.code == Code::kAccessDenied) return of_another(mount.path, mount.owner);
  if (ours && ::statvfs(mount.path.c_str(), &unused) != 0 && errno == ENOTCONN) return gone(mount.path);
  return {Code::kInvalid, fmt::format("{} ({}) is not an s3cache mount, or one without a control socket",
                                      mount.path, mount.type)};
}

}  // namespace

Result<Daemon> find_daemon(const std::string& path, const MountTable& mounts) {
  auto mount = mounts.find(path);
  if (!mount.ok()) {
    struct stat st {};
    const std::string socket = path + "/control";
    if (!mount.is(Code::kInvalid) || ::stat(socket.c_str(), &st) != 0 || !S_ISSOCK(st.st_mode))
      return mount.error();
    return Daemon{socket, "", "", st.st_uid};
  }
  auto socket = registered_socket(mount->device, mount->owner, registry_folders(mount->owner));
  if (!socket.ok()) return no_link(*mount, socket.error());
  return Daemon{*socket, mount->device, mount->path, mount->owner};
}

Result<Client> Client::connect(const Daemon& daemon) {
  auto socket = connect_to(daemon.socket);
  if (socket.is(Code::kAccessDenied)) return of_another(daemon.mount_point, daemon.owner);
  if (socket.is(Code::kUnavailable) || socket.is(Code::kNotFound)) return gone(daemon.mount_point);
  if (!socket.ok()) return socket.error();
  const auto uid = peer_uid(socket->get());
  if (!uid || (*uid != 0 && *uid != daemon.owner))
    return Error{Code::kAccessDenied, daemon.socket + " is served by another user"};
  Client client(std::move(*socket));
  auto greeting = client.next(kAnswerMs);
  if (greeting.is(Code::kUnavailable)) return of_another(daemon.mount_point, daemon.owner);
  if (!greeting.ok()) return greeting.error();
  if (greeting->value("s3cache", 0) != kProtocol)
    return Error{Code::kUnsupported, fmt::format("the mount's program is version {}: use the same for this",
                                                 greeting->value("version", "?"))};
  // A link that a killed daemon left, and its cache folder serves another mount by now.
  if (!daemon.device.empty() && greeting->value("device", "") != daemon.device)
    return gone(daemon.mount_point);
  return client;
}

Status Client::ask(const json& request) {
  const std::string line = to_line(request) + "\n";
  // A request is shorter than any socket's buffer.
  const ssize_t n = ::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL);
  if (n == static_cast<ssize_t>(line.size())) return {};
  return Error{Code::kUnavailable, "the daemon has closed the connection"};
}

Result<json> Client::next(int64_t timeout_ms) {
  const int64_t until = now_ms() + timeout_ms;
  for (;;) {
    if (const size_t end = in_.find('\n'); end != std::string::npos) {
      auto value = from_line(std::string_view(in_).substr(0, end));
      in_.erase(0, end + 1);
      if (!value) return Error{Code::kInvalid, "the daemon's answer is no JSON object"};
      return std::move(*value);
    }
    pollfd waiting{socket_.get(), POLLIN, 0};
    const int64_t left = until - now_ms();
    if (left <= 0) return Error{Code::kTimeout, "the daemon does not answer"};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) return Error{Code::kCancelled, "interrupted"};
    if (ready <= 0) continue;
    char buffer[4096];
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{Code::kUnavailable, "the daemon has gone away"};
    in_.append(buffer, static_cast<size_t>(n));
  }
}

Result<json> ask_once(const Daemon& daemon, const json& request) {
  auto client = Client::connect(daemon);
  if (!client.ok()) return client.error();
  if (Status s = client->ask(request); !s.ok()) return s.error();
  return client->next(kAnswerMs);
}

}  // namespace s3cache::ctl
