#include "core/quarantine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "cache/file_io.h"

namespace s3cache::core {

namespace {

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
  const std::string folder = dir.path() + "/recover";
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return errno_error(errno, "make " + folder);
  const std::string stem = fmt::format("{}/{}-{:016x}", folder, draft.ino(), state.fid);
  auto ranges = nlohmann::json::array();
  for (const Range& r : draft.unsaved().all()) ranges.push_back({r.offset, r.length});
  const nlohmann::json note = {
      {"key", key}, {"base_etag", state.base_etag}, {"size", state.size}, {"ranges", ranges}};
  if (const auto file = draft.file(); file && ::fdatasync(file->get()) != 0)
    return errno_error(errno, "sync " + key);
  const std::string from = dir.file_path(state.fid), to = stem + ".data";
  if (::link(from.c_str(), to.c_str()) != 0 && errno != EEXIST) return errno_error(errno, "link " + to);
  return write_synced(stem + ".json",
                      note.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace s3cache::core
