#include "ctl/protocol.h"

#include <nlohmann/json.hpp>

namespace s3cache::ctl {

using nlohmann::json;

namespace {

json requests_json(const s3::Counters& c) {
  return {{"get", c.gets},
          {"head", c.heads},
          {"list", c.lists},
          {"put", c.puts},
          {"copy", c.copies},
          {"create_upload", c.uploads},
          {"part", c.parts},
          {"part_copy", c.part_copies},
          {"complete_upload", c.completes},
          {"abort_upload", c.aborts},
          {"delete", c.deletes},
          {"delete_objects", c.batch_deletes},
          {"list_uploads", c.upload_lists},
          {"retries", c.retries},
          {"errors", c.errors},
          {"bytes_received", c.bytes_received},
          {"bytes_sent", c.bytes_sent}};
}

json trouble_json(const std::optional<core::Trouble>& trouble) {
  if (!trouble) return nullptr;
  return {{"key", trouble->key},
          {"code", code_name(trouble->error.code)},
          {"message", trouble->error.message},
          {"at", trouble->at_ns / 1'000'000'000}};
}

}  // namespace

json greeting(const MountInfo& mount) {
  return {{"s3cache", kProtocol},
          {"version", mount.version},
          {"device", mount.device},
          {"mount_point", mount.mount_point}};
}

json status_json(const MountInfo& mount, const core::Stats& stats, int64_t quarantined, bool unmounting,
                 int64_t now_s) {
  json out;
  out["version"] = mount.version;
  out["pid"] = mount.pid;
  out["mount_point"] = mount.mount_point;
  out["bucket"] = mount.bucket;
  out["prefix"] = mount.prefix;
  out["url"] = mount.url;
  out["mode"] = mount.mode;
  out["unmounting"] = unmounting;
  out["uptime"] = now_s - mount.started_at_s;
  out["passthrough"] = {{"on", mount.passthrough}, {"why_not", mount.why_no_passthrough}};
  out["cache"] = {{"folder", mount.cache_dir},
                  {"bytes", stats.cache_bytes},
                  {"limit", stats.cache_limit},
                  {"files", stats.cache_files}};
  out["unsaved"] = {{"files", stats.dirty_files},
                    {"bytes", stats.dirty_bytes},
                    {"uploads", stats.uploads},
                    {"changes", stats.changes},
                    {"last_error", trouble_json(stats.trouble)}};
  out["quarantined"] = quarantined;
  out["names"] = {{"lookups", stats.names.lookups},
                  {"lookup_hits", stats.names.lookup_hits},
                  {"listings", stats.names.listings},
                  {"unnameable_keys", stats.names.unnameable_keys}};
  out["requests"] = requests_json(stats.requests);
  return out;
}

json error_event(const Error& error) {
  return {{"event", "error"}, {"code", code_name(error.code)}, {"message", error.message}};
}

std::string to_line(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::optional<json> from_line(std::string_view line) {
  json value = json::parse(line, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  return value;
}

}  // namespace s3cache::ctl
