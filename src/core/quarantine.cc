#include "core/quarantine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/crash_point.h"
#include "base/encoding.h"
#include "base/unique_fd.h"
#include "cache/file_io.h"

namespace s3cache::core {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kNote = ".json", kData = ".data";

std::string folder_in(const std::string& cache_folder) { return cache_folder + "/recover"; }

Status write_synced(const std::string& path, const std::string& text) {
  const UniqueFd fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
  if (fd.get() < 0) return errno_error(errno, "create " + path);
  const auto bytes = std::as_bytes(std::span(text));
  if (Status s = cache::write_all(fd.get(), 0, bytes, path); !s.ok()) return s;
  return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error(errno, "sync " + path));
}

}  // namespace

Status quarantine(cache::CacheDir& dir, const std::string& key, const Draft& draft) {
  const Draft::State state = draft.state();
  const std::string folder = folder_in(dir.path());
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return errno_error(errno, "make " + folder);
  const std::string stem = fmt::format("{}/{}-{:016x}", folder, draft.ino(), state.fid);
  auto ranges = json::array();
  for (const Range& r : draft.unsaved().all()) ranges.push_back({r.offset, r.length});
  const bool complete = draft.local().covers(0, std::min(state.base_len, state.size));
  json note = {{"key", key},
               {"base_etag", state.base_etag},
               {"size", state.size},
               {"ranges", ranges},
               {"complete", complete}};
  // JSON has no place for keys that are no UTF-8.
  note["key_encoded"] = percent_encode(key, true);
  if (const auto file = draft.file(); file && ::fdatasync(file->get()) != 0)
    return errno_error(errno, "sync " + key);
  const std::string from = dir.file_path(state.fid), to = stem + std::string(kData);
  if (::link(from.c_str(), to.c_str()) != 0 && errno != EEXIST) return errno_error(errno, "link " + to);
  crash_point("quarantine-linked");
  return write_synced(stem + std::string(kNote),
                      note.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

namespace {

// What the note says; false: it says nothing that can be used.
bool read_note(const std::string& path, Quarantined& out) {
  std::ifstream file(path);
  const json note = json::parse(file, nullptr, false);
  if (!note.is_object()) return false;
  const auto text = [&note](const char* name) {
    const auto it = note.find(name);
    return it != note.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  out.key = percent_decode(text("key_encoded"), false).value_or("");
  if (out.key.empty()) out.key = text("key");
  out.base_etag = text("base_etag");
  if (const auto it = note.find("size"); it != note.end() && it->is_number_integer()) out.size = *it;
  ExtentSet kept;
  if (const auto it = note.find("ranges"); it != note.end() && it->is_array()) {
    for (const json& range : *it) {
      const bool pair = range.is_array() && range.size() == 2 && range[0].is_number_integer() &&
                        range[1].is_number_integer();
      if (pair && range[0] >= 0) kept.add(range[0], range[1]);
    }
  }
  out.ranges = kept.all();
  out.kept_bytes = kept.bytes();
  const auto complete = note.find("complete");
  out.complete =
      kept.covers(0, out.size) || (complete != note.end() && complete->is_boolean() && complete->get<bool>());
  return true;
}

Quarantined entry_of_note(const std::string& folder, const std::string& file) {
  Quarantined out;
  out.name = file.substr(0, file.size() - kNote.size());
  const std::string data = folder + "/" + out.name + std::string(kData);
  if (::access(data.c_str(), F_OK) == 0) out.data_path = data;
  (void)read_note(folder + "/" + file, out);
  return out;
}

// Out of a store that was beyond repair: nobody knows which object it was.
Quarantined entry_of_data(const std::string& folder, const std::string& file) {
  Quarantined out;
  out.name = file;
  out.data_path = folder + "/" + file;
  struct stat st {};
  if (::stat(out.data_path.c_str(), &st) == 0) out.size = out.kept_bytes = st.st_size;
  out.ranges = {{0, out.size}};
  out.complete = true;
  return out;
}

}  // namespace

Result<std::vector<Quarantined>> list_quarantine(const std::string& cache_folder) {
  const std::string folder = folder_in(cache_folder);
  std::vector<Quarantined> out;
  std::error_code ec;
  fs::directory_iterator it(folder, ec), end;
  if (ec == std::errc::no_such_file_or_directory) return out;
  for (; !ec && it != end; it.increment(ec)) {
    const std::string file = it->path().filename().string();
    const bool noted =
        file.ends_with(kData) &&
        fs::exists(folder + "/" + file.substr(0, file.size() - kData.size()) + std::string(kNote));
    if (noted) continue;
    out.push_back(file.ends_with(kNote) ? entry_of_note(folder, file) : entry_of_data(folder, file));
    struct stat st {};
    if (::stat(it->path().c_str(), &st) == 0) out.back().kept_at_s = st.st_mtim.tv_sec;
  }
  if (ec) return errno_error(ec.value(), "read " + folder);
  std::sort(out.begin(), out.end(),
            [](const Quarantined& a, const Quarantined& b) { return a.name < b.name; });
  return out;
}

Status drop_quarantined(const std::string& cache_folder, const std::string& name) {
  const auto all = list_quarantine(cache_folder);
  if (!all.ok()) return all.error();
  const auto it =
      std::find_if(all->begin(), all->end(), [&name](const Quarantined& q) { return q.name == name; });
  if (it == all->end())
    return Error{Code::kNotFound, "nothing called " + name + " is kept in " + cache_folder};
  // Data first: a note without data is seen as such, data without its note would be a riddle.
  if (!it->data_path.empty() && ::unlink(it->data_path.c_str()) != 0)
    return errno_error(errno, "remove " + it->data_path);
  const std::string note = folder_in(cache_folder) + "/" + name + std::string(kNote);
  if (::unlink(note.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove " + note);
  return {};
}

}  // namespace s3cache::core
