// The daemon's side and the commands' side over a real socket, with a file system that does as the test says.
#include "ctl/control_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "ctl/client.h"
#include "ctl/unix_socket.h"
#include "fake_core.h"
#include "temp_dir.h"

using namespace s3cache;
using namespace s3cache::ctl;
using nlohmann::json;

namespace {

class Served {
 public:
  Served() {
    MountInfo mount;
    mount.version = "9.9";
    mount.device = "0:57";
    mount.mount_point = "/mnt";
    mount.bucket = "bkt";
    mount.mode = "writeback";
    mount.started_at_s = clock.wall_s();
    clock.advance_s(100);
    auto started = ControlServer::start(dir.path, mount, core, clock);
    REQUIRE(started.ok());
    server = std::move(*started);
  }
  Daemon daemon() const { return {dir / "control", "0:57", "/mnt", ::geteuid()}; }
  Client client() const {
    auto made = Client::connect(daemon());
    REQUIRE(made.ok());
    return std::move(*made);
  }

  TempDir dir;
  FakeClock clock;
  FakeCore core;
  std::unique_ptr<ControlServer> server;
};

bool becomes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// The server closes: within ten seconds of real time.
bool is_closed(int socket) {
  char buffer[4096];
  for (;;) {
    pollfd waiting{socket, POLLIN, 0};
    if (::poll(&waiting, 1, 10'000) != 1) return false;
    const ssize_t n = ::recv(socket, buffer, sizeof buffer, 0);
    if (n <= 0) return true;
  }
}

json next_of(Client& client, const std::string& event) {
  for (;;) {
    auto line = client.next(10'000);
    REQUIRE(line.ok());
    if (line->at("event") == event) return *line;
    REQUIRE(line->at("event") == "progress");
  }
}

}  // namespace

TEST_CASE("status says what the file system says") {
  Served served;
  core::Stats stats;
  stats.dirty_files = 2;
  stats.dirty_bytes = 1000;
  stats.changes = 3;
  stats.trouble = core::Trouble{
      "a\xff"
      "b",
      {Code::kUnavailable, "no answer"},
      5'000'000'000};
  stats.requests.puts = 7;
  served.core.set_stats(stats);
  const auto answer = ask_once(served.daemon(), {{"command", "status"}});
  REQUIRE(answer.ok());
  CHECK(answer->at("event") == "done");
  const json& s = answer->at("status");
  CHECK(s.at("bucket") == "bkt");
  CHECK(s.at("mode") == "writeback");
  CHECK(s.at("uptime") == 100);
  CHECK(s.at("unmounting") == false);
  CHECK(s.at("unsaved").at("files") == 2);
  CHECK(s.at("unsaved").at("last_error").at("code") == "unavailable");
  CHECK(s.at("unsaved").at("last_error").at("at") == 5);
  CHECK(s.at("requests").at("put") == 7);
  CHECK(s.at("quarantined") == 0);
  served.server->set_unmounting();
  CHECK(ask_once(served.daemon(), {{"command", "status"}})->at("status").at("unmounting") == true);
}

TEST_CASE("sync: progress until it is saved, tried again where that may help") {
  Served served;
  auto client = served.client();
  REQUIRE(client.ask({{"command", "sync"}}).ok());
  CHECK(client.next(10'000)->at("event") == "progress");
  CHECK(served.core.syncs() == 1);
  served.clock.advance_ms(1'100);
  CHECK(becomes_true([&] { return served.core.nudges > 0; }));

  served.core.end_syncs(Error{Code::kUnavailable, "down"});
  CHECK(becomes_true([&] {
    served.clock.advance_ms(300);
    return served.core.syncs() == 2;
  }));
  SECTION("saved in the end") {
    served.core.end_syncs({});
    CHECK(next_of(client, "done").contains("status"));
  }
  SECTION("an error that no repetition cures") {
    served.core.end_syncs(Error{Code::kAccessDenied, "not yours"});
    const json last = next_of(client, "error");
    CHECK(last.at("code") == "access-denied");
    CHECK(last.at("message") == "not yours");
    CHECK(last.contains("status"));
  }
  SECTION("the client goes away, and the upload ends later") {
    { const auto gone = std::move(client); }
    CHECK(ask_once(served.daemon(), {{"command", "status"}}).ok());
    served.core.end_syncs({});
  }
  SECTION("the mount ends under it") {
    served.server.reset();
    bool gone = false;
    while (!gone) {
      const auto line = client.next(10'000);
      gone = line.is(Code::kUnavailable);
      REQUIRE((gone || line.ok()));
    }
    served.core.end_syncs({});
    CHECK(Client::connect(served.daemon()).is(Code::kUnavailable));
  }
}

TEST_CASE("nonsense costs its sender the connection and nobody else anything") {
  Served served;
  auto other = served.client();
  REQUIRE(other.ask({{"command", "sync"}}).ok());
  const std::string huge(kMaxLine + 10, 'x');
  const std::string line = GENERATE_COPY(as<std::string>{}, "nonsense\n", "[1]\n", "{}\n",
                                         "{\"command\":7}\n", "{\"command\":\"explode\"}\n", "\n", huge);
  auto socket = connect_to(served.dir / "control");
  REQUIRE(socket.ok());
  size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = ::send(socket->get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) break;
    sent += static_cast<size_t>(n);
  }
  CHECK(is_closed(socket->get()));
  served.core.end_syncs({});
  next_of(other, "done");
}

TEST_CASE("silent clients lose their places, and only sixteen are served at a time") {
  Served served;
  std::vector<UniqueFd> silent;
  for (size_t i = 0; i < ControlServer::kMaxClients + 5; ++i) {
    auto socket = connect_to(served.dir / "control");
    REQUIRE(socket.ok());
    silent.push_back(std::move(*socket));
  }
  const auto greeted = [&] {
    size_t count = 0;
    for (const UniqueFd& socket : silent) {
      pollfd waiting{socket.get(), POLLIN, 0};
      count += ::poll(&waiting, 1, 0) == 1 ? 1 : 0;
    }
    return count;
  };
  CHECK(becomes_true([&] { return greeted() == ControlServer::kMaxClients; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // two rounds of the server, nobody more
  CHECK(greeted() == ControlServer::kMaxClients);
  served.clock.advance_ms(ControlServer::kPatienceMs + 1);
  CHECK(becomes_true([&] { return greeted() == silent.size(); }));
  served.clock.advance_ms(ControlServer::kPatienceMs + 1);
  for (const UniqueFd& socket : silent) CHECK(is_closed(socket.get()));
  CHECK(ask_once(served.daemon(), {{"command", "status"}}).ok());
}

TEST_CASE("a client that does not read its progress is dropped at its end, not waited for") {
  Served served;
  auto client = served.client();
  REQUIRE(client.ask({{"command", "sync"}}).ok());
  for (int i = 0; i < 2000; ++i) {
    served.clock.advance_ms(250);
    if (i % 500 == 0) CHECK(ask_once(served.daemon(), {{"command", "status"}}).ok());
  }
  served.core.end_syncs({});
  next_of(client, "done");
}

TEST_CASE("only the owner and root get in") {
  Served served;
  struct stat st {};
  REQUIRE(::stat((served.dir / "control").c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  if (::geteuid() != 0) return;
  // Where the file's mode would let them in, SO_PEERCRED does not.
  REQUIRE(::chmod(served.dir.path.c_str(), 0755) == 0);
  REQUIRE(::chmod((served.dir / "control").c_str(), 0666) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(9);
    const auto socket = connect_to(served.dir / "control");
    if (!socket.ok()) ::_exit(8);
    char byte;
    ::_exit(::recv(socket->get(), &byte, 1, 0) == 0 ? 0 : 7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a daemon of another device, another user or another protocol is not taken for the mount's") {
  Served served;
  Daemon other = served.daemon();
  other.device = "0:99";
  CHECK(Client::connect(other).is(Code::kUnavailable));
  if (::geteuid() != 0) {
    other = served.daemon();
    other.owner = ::geteuid() + 1;
    CHECK(Client::connect(other).is(Code::kAccessDenied));
  }
  other = served.daemon();
  other.socket = served.dir / "none";
  CHECK(Client::connect(other).is(Code::kUnavailable));
}

TEST_CASE("a socket's path may be longer than sun_path, and an earlier process's socket file is replaced") {
  const TempDir dir;
  const std::string folder = dir / std::string(150, 'd');
  std::filesystem::create_directory(folder);
  {
    auto listening = listen_at(folder + "/control");
    REQUIRE(listening.ok());
    CHECK(connect_to(folder + "/control").ok());
  }
  CHECK(connect_to(folder + "/control").is(Code::kUnavailable));
  auto again = listen_at(folder + "/control");
  REQUIRE(again.ok());
  CHECK(connect_to(folder + "/control").ok());
}
