// s3cache status
#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "ctl/client.h"
#include "ctl/command_parts.h"
#include "ctl/format.h"
#include "ctl/protocol.h"
#include "ctl/status_text.h"

namespace s3cache::ctl {

using nlohmann::json;

namespace {

void row(std::string& out, std::string_view name, const std::string& text) {
  out += fmt::format("{:<12} {}\n", name, printable(text));
}

std::string mode_text(const std::string& mode) {
  if (mode == "ro") return "read-only";
  return mode == "rw" ? "read and write" : mode;
}

std::string cache_text(const json& cache) {
  const int64_t limit = cache.value("limit", int64_t{0});
  std::string out = bytes_text(cache.value("bytes", int64_t{0}));
  if (limit > 0) out += " of " + bytes_text(limit);
  return out + ", " + count_text(cache.value("files", int64_t{0}), "file", "files") + ", in " +
         cache.value("folder", "");
}

std::string requests_text(const json& requests) {
  std::string out;
  for (const auto& [verb, count] : requests.items()) {
    if (!count.is_number_integer() || count == 0 || verb.starts_with("bytes_")) continue;
    out += (out.empty() ? "" : ", ") + verb + " " + std::to_string(count.get<int64_t>());
  }
  return out.empty() ? "none" : out;
}

std::string names_text(const json& names) {
  const int64_t lookups = names.value("lookups", int64_t{0}), hits = names.value("lookup_hits", int64_t{0});
  if (lookups == 0) return "none looked up";
  return fmt::format("{} looked up, {:.1f} % of them known", lookups,
                     100.0 * static_cast<double>(hits) / static_cast<double>(lookups));
}

}  // namespace

std::string unsaved_text(const json& unsaved) {
  const int64_t files = unsaved.value("files", int64_t{0}), changes = unsaved.value("changes", int64_t{0});
  std::string out;
  if (files > 0)
    out = count_text(files, "file", "files") + ", " + bytes_text(unsaved.value("bytes", int64_t{0}));
  if (changes > 0)
    out += (out.empty() ? "" : " and ") + count_text(changes, "change of names", "changes of names");
  return out;
}

std::string trouble_text(const json& unsaved) {
  const auto it = unsaved.find("last_error");
  if (it == unsaved.end() || !it->is_object()) return {};
  const int64_t ago = std::time(nullptr) - it->value("at", int64_t{0});
  return fmt::format("{}: {} ({} ago)", it->value("key", ""), it->value("message", ""), duration_text(ago));
}

namespace {

std::string status_text(const json& s) {
  const json empty = json::object();
  const auto part = [&](const char* name) -> const json& {
    const auto it = s.find(name);
    return it != s.end() && it->is_object() ? *it : empty;
  };
  std::string out;
  const std::string prefix = s.value("prefix", "");
  row(out, "bucket",
      s.value("bucket", "") + (prefix.empty() ? "" : ":/" + prefix) + " on " + s.value("url", ""));
  row(out, "mount",
      fmt::format("{}, {}, {}", s.value("mount_point", ""), mode_text(s.value("mode", "")),
                  s.value("unmounting", false) ? "unmounted, saving the rest"
                                               : "since " + duration_text(s.value("uptime", int64_t{0}))));
  row(out, "program",
      fmt::format("s3cache {}, process {}", s.value("version", ""), s.value("pid", int64_t{0})));
  const json& through = part("passthrough");
  row(out, "passthrough", through.value("on", false) ? "on" : "off: " + through.value("why_not", ""));
  row(out, "cache", cache_text(part("cache")));
  const json& unsaved = part("unsaved");
  const std::string left = unsaved_text(unsaved);
  const int64_t uploads = unsaved.value("uploads", int64_t{0});
  row(out, "not on S3",
      left.empty() ? "nothing" : left + (uploads > 0 ? fmt::format(", {} going up", uploads) : ""));
  if (const std::string trouble = trouble_text(unsaved); !trouble.empty()) row(out, "last error", trouble);
  const int64_t kept = s.value("quarantined", int64_t{0});
  row(out, "set aside",
      kept == 0 ? "nothing"
                : count_text(kept, "file", "files") + ": s3cache recover list " + s.value("mount_point", ""));
  row(out, "names", names_text(part("names")));
  const json& requests = part("requests");
  row(out, "requests", requests_text(requests));
  row(out, "traffic",
      fmt::format("{} received, {} sent", bytes_text(requests.value("bytes_received", int64_t{0})),
                  bytes_text(requests.value("bytes_sent", int64_t{0}))));
  return out;
}

}  // namespace

int status_command(const StatusWords& words) {
  auto daemon = find_daemon(words.path, MountTable::of_this_process());
  if (!daemon.ok()) return fail("status", daemon.error().message);
  auto answer = ask_once(*daemon, {{"command", "status"}});
  if (!answer.ok()) return fail("status", answer.error().message);
  const auto status = answer->find("status");
  if (status == answer->end() || !status->is_object())
    return fail("status", answer->value("message", "the daemon's answer has no status"));
  const std::string text = words.json ? to_line(*status) + "\n" : status_text(*status);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace s3cache::ctl
