// s3cache recover list|restore|drop
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/quarantine.h"
#include "ctl/client.h"
#include "ctl/command_parts.h"
#include "ctl/format.h"
#include "ctl/protocol.h"
#include "ctl/restore_file.h"

namespace s3cache::ctl {

using core::Quarantined;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr const char* kRecover = "recover";

struct Kept {
  std::string folder;  // the cache folder it lies in
  Quarantined what;
};

bool is_cache_folder(const fs::path& path) {
  std::error_code ec;
  return fs::is_regular_file(path / "version", ec) && fs::exists(path / "lock", ec);
}

// Cache folders a path stands for: the mount's, the folder itself, or all in a use_cache.
Result<std::vector<std::string>> cache_folders(const std::string& path) {
  const MountTable mounts = MountTable::of_this_process();
  if (const auto mount = mounts.find(path); mount.ok()) {
    auto daemon = find_daemon(path, mounts);
    if (!daemon.ok()) return daemon.error();
    return std::vector<std::string>{daemon->cache_folder()};
  } else if (!mount.is(Code::kInvalid)) {
    return mount.error();
  }
  if (is_cache_folder(path)) return std::vector<std::string>{path};
  std::vector<std::string> out;
  std::error_code ec;
  for (fs::directory_iterator it(path, ec), end; !ec && it != end; it.increment(ec))
    if (is_cache_folder(it->path())) out.push_back(it->path().string());
  if (ec) return errno_error(ec.value(), path);
  if (out.empty())
    return Error{Code::kInvalid, path + " is neither on an s3cache mount nor a cache folder (use_cache)"};
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::vector<Kept>> find_kept(const std::string& path) {
  auto folders = cache_folders(path);
  if (!folders.ok()) return folders.error();
  std::vector<Kept> out;
  for (const std::string& folder : *folders) {
    auto some = core::list_quarantine(folder);
    if (!some.ok()) return some.error();
    for (Quarantined& one : *some) out.push_back({folder, std::move(one)});
  }
  return out;
}

Result<Kept> find_one(const std::string& path, const std::string& name) {
  auto all = find_kept(path);
  if (!all.ok()) return all.error();
  const auto same = [&name](const Kept& kept) { return kept.what.name == name; };
  const auto it = std::find_if(all->begin(), all->end(), same);
  if (it == all->end())
    return Error{Code::kNotFound,
                 fmt::format("nothing called {} is kept there: s3cache recover list {}", name, path)};
  if (std::count_if(all->begin(), all->end(), same) > 1)
    return Error{Code::kInvalid,
                 fmt::format("{} is kept in more than one cache folder: name the folder", name)};
  return *it;
}

std::string list_text(const std::vector<Kept>& all) {
  if (all.empty()) return "nothing is set aside\n";
  size_t width = 4;
  for (const Kept& kept : all) width = std::max(width, kept.what.name.size());
  std::string out =
      fmt::format("{:<{}}  {:>9}  {:>9}  {:<16}  KEY\n", "NAME", width, "CHANGED", "SIZE", "WHEN");
  for (const auto& [folder, q] : all) {
    const std::string note = !q.data_path.empty() && q.complete ? ""
                             : q.data_path.empty()              ? "  (its data is gone)"
                                                                : "  (partly kept)";
    out += fmt::format("{:<{}}  {:>9}  {:>9}  {:%Y-%m-%d %H:%M}  {}{}\n", printable(q.name), width,
                       bytes_text(q.kept_bytes), bytes_text(q.size),
                       fmt::localtime(static_cast<time_t>(q.kept_at_s)),
                       q.key.empty() ? "(not known any more)" : printable(q.key), note);
  }
  return out;
}

json list_json(const std::vector<Kept>& all) {
  json files = json::array();
  for (const auto& [folder, q] : all) {
    json ranges = json::array();
    for (const core::Range& r : q.ranges) ranges.push_back({r.offset, r.length});
    files.push_back({{"name", q.name},
                     {"folder", folder},
                     {"data", q.data_path},
                     {"key", q.key},
                     {"base_etag", q.base_etag},
                     {"size", q.size},
                     {"changed_bytes", q.kept_bytes},
                     {"changed_ranges", ranges},
                     {"complete", q.complete},
                     {"kept_at", q.kept_at_s}});
  }
  return {{"files", files}};
}

// Where the file was: the daemon knows the mount's prefix.
Result<std::string> place_in_mount(const std::string& path, const std::string& key) {
  if (key.empty()) return Error{Code::kInvalid, "nobody knows where it was: give --to FILE"};
  auto daemon = find_daemon(path, MountTable::of_this_process());
  if (!daemon.ok() || daemon->mount_point.empty())
    return Error{Code::kInvalid, path + " is not mounted: give --to FILE"};
  auto answer = ask_once(*daemon, {{"command", "status"}});
  if (!answer.ok()) return answer.error();
  const std::string prefix = answer->value("status", json::object()).value("prefix", "");
  if (!key.starts_with(prefix))
    return Error{Code::kInvalid, key + " lies outside of the mount: give --to FILE"};
  return daemon->mount_point + "/" + key.substr(prefix.size());
}

}  // namespace

int recover_list(const RecoverWords& words) {
  auto all = find_kept(words.path);
  if (!all.ok()) return fail(kRecover, all.error().message);
  const std::string text = words.json ? to_line(list_json(*all)) + "\n" : list_text(*all);
  std::fputs(text.c_str(), stdout);
  return 0;
}

int recover_restore(const RecoverWords& words) {
  auto kept = find_one(words.path, words.names.front());
  if (!kept.ok()) return fail(kRecover, kept.error().message);
  const Quarantined& q = kept->what;
  if (q.data_path.empty()) return fail(kRecover, q.name + ": its data is gone");
  if (!q.complete && !words.partial) {
    return fail(kRecover,
                fmt::format("{}: {} of its {} were kept, the rest was in a version that is gone: --partial "
                            "writes zeros in its place",
                            q.name, bytes_text(q.kept_bytes), bytes_text(q.size)));
  }
  std::string to = words.to;
  if (to.empty()) {
    auto place = place_in_mount(words.path, q.key);
    if (!place.ok()) return fail(kRecover, place.error().message);
    to = std::move(*place);
  }
  const Status restored = restore_file(q.data_path, to, words.force);
  if (restored.is(Code::kExists))
    return fail(kRecover, to + " exists: give --to FILE, or --force to replace it");
  if (!restored.ok()) return fail(kRecover, restored.error().message);
  std::printf("restored to %s; it stays in the list until: s3cache recover drop %s %s\n",
              printable(to).c_str(), printable(words.path).c_str(), printable(q.name).c_str());
  return 0;
}

int recover_drop(const RecoverWords& words) {
  int code = 0;
  for (const std::string& name : words.names) {
    auto kept = find_one(words.path, name);
    const Status dropped = kept.ok() ? core::drop_quarantined(kept->folder, name) : Status(kept.error());
    if (!dropped.ok()) code = fail(kRecover, dropped.error().message);
  }
  return code;
}

}  // namespace s3cache::ctl
