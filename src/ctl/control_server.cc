#include "ctl/control_server.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "core/quarantine.h"
#include "core/sync_wait.h"
#include "ctl/connection.h"
#include "ctl/unix_socket.h"

namespace s3cache::ctl {

using nlohmann::json;

namespace {
constexpr int kStepMs = static_cast<int>(core::SyncWait::kStepMs);

void wake(const UniqueFd& event) {
  const uint64_t one = 1;
  (void)!::write(event.get(), &one, sizeof one);
}
}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& folder, MountInfo mount,
                                                            core::Filesystem& filesystem,
                                                            const Clock& clock) {
  std::unique_ptr<ControlServer> server(new ControlServer(folder, std::move(mount), filesystem, clock));
  if (Status s = server->listen(); !s.ok()) return s.error();
  server->thread_ = std::thread([raw = server.get()] { raw->run(); });
  return server;
}

ControlServer::ControlServer(std::string folder, MountInfo mount, core::Filesystem& filesystem,
                             const Clock& clock)
    : folder_(std::move(folder)),
      mount_(std::move(mount)),
      filesystem_(filesystem),
      clock_(clock),
      wake_(std::make_shared<UniqueFd>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))) {}

ControlServer::~ControlServer() {
  stopping_ = true;
  wake(*wake_);
  if (!thread_.joinable()) return;
  thread_.join();
  ::unlink((folder_ + "/control").c_str());
}

Status ControlServer::listen() {
  auto socket = listen_at(folder_ + "/control");
  if (!socket.ok()) return socket.error();
  listener_ = std::move(*socket);
  if (::fcntl(listener_.get(), F_SETFL, O_NONBLOCK) != 0) return errno_error(errno, "control socket");
  return {};
}

void ControlServer::run() {
  pthread_setname_np(pthread_self(), "s3c-control");
  while (!stopping_) {
    std::vector<pollfd> waiting{{wake_->get(), POLLIN, 0}};
    // With all places taken, or no descriptor to be had, the next ones wait in the backlog.
    const bool open = clients_.size() < kMaxClients && clock_.mono_ms() >= accept_at_ms_;
    if (open) waiting.push_back({listener_.get(), POLLIN, 0});
    for (const auto& client : clients_)
      waiting.push_back(
          {client->fd(), static_cast<short>(POLLIN | (client->wants_to_write() ? POLLOUT : 0)), 0});
    const int timeout = open && clients_.empty() ? -1 : kStepMs;
    if (::poll(waiting.data(), waiting.size(), timeout) < 0 && errno != EINTR) break;
    uint64_t ignored;
    (void)!::read(wake_->get(), &ignored, sizeof ignored);
    for (const auto& client : clients_) serve(*client);
    const int64_t now = clock_.mono_ms();
    std::erase_if(clients_, [now](const auto& client) { return client->closed(now); });
    accept_clients();
  }
  clients_.clear();
}

void ControlServer::accept_clients() {
  while (clients_.size() < kMaxClients) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno != EAGAIN) accept_at_ms_ = clock_.mono_ms() + kStepMs;
      return;
    }
    const auto uid = peer_uid(socket.get());
    if (!uid || (*uid != 0 && *uid != ::geteuid())) {
      log::warn("control socket: user {} is refused", uid ? std::to_string(*uid) : "?");
      continue;
    }
    clients_.push_back(std::make_unique<Connection>(std::move(socket), clock_.mono_ms() + kPatienceMs));
    clients_.back()->send_line(to_line(greeting(mount_)));
  }
}

std::string ControlServer::status_now(const char* event) {
  const auto kept = core::list_quarantine(folder_);
  const auto quarantined = kept.ok() ? static_cast<int64_t>(kept->size()) : -1;
  json line = {{"event", event}};
  line["status"] = status_json(mount_, filesystem_.stats(), quarantined, unmounting_, clock_.wall_s());
  return to_line(line);
}

void ControlServer::serve(Connection& client) {
  client.flush();
  if (const auto line = client.read_line()) answer(client, *line);
  if (client.sync) follow_sync(client);
}

void ControlServer::answer(Connection& client, const std::string& line) {
  const int64_t now = clock_.mono_ms();
  const auto refuse = [&](const std::string& message) {
    client.send_last(to_line(error_event({Code::kInvalid, message})), now + kPatienceMs);
  };
  const auto request = from_line(line);
  if (!request) return refuse("the request is no JSON object");
  const auto command = request->find("command");
  if (command == request->end() || !command->is_string()) return refuse("the request names no command");
  if (*command == "status") return client.send_last(status_now("done"), now + kPatienceMs);
  if (*command != "sync")
    return refuse("this s3cache (" + mount_.version + ") does not know " + command->dump());
  client.no_deadline();
  client.sync = std::make_unique<core::SyncWait>(filesystem_, clock_, [event = wake_] { wake(*event); });
}

void ControlServer::follow_sync(Connection& client) {
  const int64_t now = clock_.mono_ms();
  if (const auto ended = client.sync->step()) {
    client.sync.reset();
    if (ended->ok()) return client.send_last(status_now("done"), now + kPatienceMs);
    json line = *from_line(status_now("error"));
    line.update(error_event(ended->error()));
    return client.send_last(to_line(line), now + kPatienceMs);
  }
  // One that does not read its lines gets no more of them.
  if (now < client.next_progress_ms || client.wants_to_write()) return;
  client.next_progress_ms = now + kStepMs;
  client.send_line(status_now("progress"));
}

}  // namespace s3cache::ctl
