// Protocol: what the daemon and the `s3cache COMMAND` programs say to each other, version 1.
//
// A unix stream socket, JSON objects, one a line. The daemon greets:
//   {"s3cache":1,"version":"0.1.0","device":"0:57","mount_point":"/mnt"}
// The client asks once: {"command":"status"} or {"command":"sync"}. The answers are lines with "event":
//   "progress"  (sync, every quarter of a second) with "status"
//   "done"      the last one, with "status"
//   "error"     the last one, with "code" (base/result.h's names), "message", and "status" where there is one
// Fields may be added; their meaning changes only with the number. Closing the connection ends what was asked
// for (waiting, not the uploads). Threads: values. Units: bytes, seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/stats.h"

namespace s3cache::ctl {

inline constexpr int kProtocol = 1;
inline constexpr size_t kMaxLine = 64 << 10;  // bytes of one line

// What does not change while a mount lives.
struct MountInfo {
  std::string version;
  std::string device;  // "0:57"
  std::string mount_point;
  std::string bucket, prefix, url;
  std::string mode;  // "ro", "rw", "writeback"
  std::string cache_dir;
  bool passthrough = false;
  std::string why_no_passthrough;
  int64_t started_at_s = 0;  // UNIX time
  int64_t pid = 0;
};

nlohmann::json greeting(const MountInfo& mount);
nlohmann::json status_json(const MountInfo& mount, const core::Stats& stats, int64_t quarantined,
                           bool unmounting, int64_t now_s);
nlohmann::json error_event(const Error& error);

// One line without its end. Text that is no UTF-8 is shown as far as it is.
std::string to_line(const nlohmann::json& json);
// An object, or nothing.
std::optional<nlohmann::json> from_line(std::string_view line);

}  // namespace s3cache::ctl
