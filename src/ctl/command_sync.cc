// s3cache sync
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "ctl/client.h"
#include "ctl/command_parts.h"
#include "ctl/format.h"
#include "ctl/protocol.h"
#include "ctl/status_text.h"

namespace s3cache::ctl {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int64_t kSilenceMs = 30'000;  // a daemon that says nothing for so long is stuck
constexpr int kBarWidth = 20;

volatile std::sig_atomic_t interrupted = 0;

// Without SA_RESTART: the wait for the daemon's next line ends.
void catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  ::sigaction(SIGINT, &action, nullptr);
}

json unsaved_of(const json& line) {
  const auto status = line.find("status");
  if (status == line.end() || !status->is_object()) return json::object();
  return status->value("unsaved", json::object());
}

// One line on a terminal, written over and over.
class Bar {
 public:
  explicit Bar(bool on) : on_(on) {}
  ~Bar() { clear(); }

  void show(const json& line) {
    if (!on_) return;
    const json unsaved = unsaved_of(line);
    const auto left = unsaved.value("bytes", int64_t{0});
    most_ = std::max(most_, left);
    measure(line);
    const auto full = static_cast<int>(most_ > 0 ? kBarWidth * (most_ - left) / most_ : 0);
    const std::string trouble = trouble_text(unsaved);
    const std::string what = unsaved_text(unsaved);
    std::string text = fmt::format("[{:=<{}}{: <{}}] {} left, {}/s", "", full, "", kBarWidth - full,
                                   what.empty() ? "nothing" : what, bytes_text(rate_));
    if (!trouble.empty()) text += "; " + trouble;
    std::fprintf(stderr, "\r%s\033[K", printable(text).substr(0, 200).c_str());
    shown_ = true;
  }
  void clear() {
    if (std::exchange(shown_, false)) std::fputs("\r\033[K", stderr);
  }

 private:
  // Bodies that went out, over the last second or more.
  void measure(const json& line) {
    const auto requests = line.at("status").value("requests", json::object());
    const auto sent = requests.value("bytes_sent", int64_t{0});
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - since_).count();
    if (sent_ < 0 || seconds >= 1) {
      if (sent_ >= 0) rate_ = static_cast<int64_t>(static_cast<double>(sent - sent_) / seconds);
      sent_ = sent;
      since_ = now;
    }
  }

  const bool on_;
  bool shown_ = false;
  int64_t most_ = 0, sent_ = -1, rate_ = 0;
  Clock::time_point since_{};
};

struct Outcome {
  bool saved = false;
  std::string why;  // not saved: what ended the waiting
  json last = json::object();
};

Outcome wait_for(Client& client, double timeout_s, Bar& bar) {
  const auto began = Clock::now();
  Outcome out;
  for (;;) {
    int64_t wait_ms = kSilenceMs;
    if (timeout_s >= 0) {
      const double left = timeout_s - std::chrono::duration<double>(Clock::now() - began).count();
      wait_ms = std::min(wait_ms, static_cast<int64_t>(left * 1000) + 1);
      if (left <= 0) out.why = fmt::format("not done within {} s", timeout_s);
    }
    if (interrupted) out.why = "stopped waiting; the uploads go on";
    if (!out.why.empty()) return out;
    auto line = client.next(wait_ms);
    if (line.is(Code::kCancelled) || (line.is(Code::kTimeout) && timeout_s >= 0 && wait_ms < kSilenceMs))
      continue;
    if (!line.ok()) {
      out.why = line.error().message;
      return out;
    }
    if (line->contains("status")) out.last = *line;
    const std::string event = line->value("event", "");
    if (event == "progress") {
      bar.show(*line);
      continue;
    }
    out.saved = event == "done";
    if (!out.saved) out.why = line->value("message", "no reason given");
    return out;
  }
}

std::string what_is_left(const Outcome& outcome) {
  const json unsaved = unsaved_of(outcome.last);
  const std::string left = unsaved_text(unsaved), trouble = trouble_text(unsaved);
  std::string text = outcome.why;
  if (!left.empty()) text += "; not on S3: " + left;
  if (!trouble.empty()) text += "; last error: " + trouble;
  return text;
}

}  // namespace

int sync_command(const SyncWords& words) {
  auto daemon = find_daemon(words.path, MountTable::of_this_process());
  if (!daemon.ok()) return fail("sync", daemon.error().message);
  auto client = Client::connect(*daemon);
  if (!client.ok()) return fail("sync", client.error().message);
  catch_interrupt();
  if (Status s = client->ask({{"command", "sync"}}); !s.ok()) return fail("sync", s.error().message);
  Outcome outcome;
  {
    Bar bar(!words.json && ::isatty(STDERR_FILENO) == 1);
    outcome = wait_for(*client, words.timeout_s, bar);
  }
  if (words.json) {
    json out = {{"saved", outcome.saved}, {"unsaved", unsaved_of(outcome.last)}};
    if (!outcome.saved) out["why"] = outcome.why;
    std::fprintf(stdout, "%s\n", to_line(out).c_str());
  }
  if (outcome.saved) return 0;
  return fail("sync", what_is_left(outcome));
}

}  // namespace s3cache::ctl
