#include "app/floor_options.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

#include "app/cli.h"
#include "config/credentials_files.h"

namespace s3cache::app {
namespace {

constexpr int64_t kLeastBallast = 1 << 20,
                  kMostBallast = 8 << 20;  // bytes for LMDB's last commits on a full disk

log::Level log_level(const std::string& name) {
  if (name == "silent") return log::Level::kSilent;
  if (name.starts_with("crit")) return log::Level::kCritical;
  if (name.starts_with("err")) return log::Level::kError;
  if (name.starts_with("wa")) return log::Level::kWarn;
  return name.starts_with("inf") ? log::Level::kInfo : log::Level::kDebug;
}

// CERT[:TYPE[:KEY[:KEYTYPE[:PASSWORD]]]]; a password may hold ':'.
void set_client_certificate(const config::Config& config, s3::HttpOptions& http) {
  std::vector<std::string> parts;
  std::string rest = config.ssl_client_cert;
  while (parts.size() < 4 && rest.find(':') != std::string::npos) {
    parts.push_back(rest.substr(0, rest.find(':')));
    rest.erase(0, rest.find(':') + 1);
  }
  parts.push_back(rest);
  parts.resize(5);
  http.client_cert = parts[0];
  http.client_cert_type = parts[1];
  http.client_key = parts[2];
  http.client_key_type = parts[3];
  http.client_key_password = parts[4].empty() ? config.ssl_key_password : parts[4];
}

void set_upload_options(const config::Config& config, core::UploadOptions& upload) {
  upload.default_acl = config.default_acl == "private" ? "" : config.default_acl;
  upload.storage_class = config.storage_class;
  std::transform(upload.storage_class.begin(), upload.storage_class.end(), upload.storage_class.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (config.use_sse == "1") upload.sse = "AES256";
  for (const std::string_view form : {"kmsid:", "k:"})
    if (config.use_sse.starts_with(form)) upload.sse = "kms:" + config.use_sse.substr(form.size());
  upload.mime_file = config.mime;
  upload.crc32c = config.checksum != "off";
  upload.multipart_size = config.multipart_size;
  upload.copy_size = config.multipart_copy_size;
  upload.writeback = config.writeback;
  upload.conflict_fail = config.conflict == "fail";
  upload.update_parent_dir_stat = config.update_parent_dir_stat;
}

}  // namespace

log::Options log_options(const config::Config& config) {
  log::Options options;
  options.level = log_level(config.dbglevel);
  if (config.debug_flag) options.level = std::min(options.level, log::Level::kInfo);
  if (config.fuse_debug) options.level = log::Level::kDebug;
  options.ident = config.program;
  if (!config.instance_name.empty()) options.ident += "[" + config.instance_name + "]";
  options.timestamps = !config.no_time_stamp_msg;
  options.file = config.logfile;
  if (!config.logfile.empty()) {
    options.sink = log::Sink::kFile;
  } else {
    options.sink = config.foreground ? log::Sink::kStderr : log::Sink::kSyslog;
  }
  return options;
}

Result<s3::S3Options> s3_options(const config::Config& config,
                                 std::shared_ptr<s3::CredentialsProvider> credentials) {
  s3::S3Options options;
  s3::HttpOptions& http = options.http;
  http.network_threads = static_cast<int>(config.network_threads);
  http.max_connections = static_cast<int>(config.max_connections);
  http.connect_timeout_s = static_cast<int>(config.connect_timeout);
  http.readwrite_timeout_s = static_cast<int>(config.readwrite_timeout);
  http.verify_peer = !config.no_check_certificate;
  http.verify_host = config.ssl_verify_hostname;
  http.ca_bundle = config.ca_bundle;
  set_client_certificate(config, http);
  http.cipher_suites = config.cipher_suites;
  http.proxy = config.proxy;
  if (!config.proxy_cred_file.empty()) {
    auto login = config::load_proxy_credentials(config.proxy_cred_file);
    if (!login) return login.error();
    http.proxy_user_password = std::move(*login);
  }
  if (config.ipresolve == "ipv4") http.ip_resolve = s3::IpResolve::kV4;
  if (config.ipresolve == "ipv6") http.ip_resolve = s3::IpResolve::kV6;
  http.user_agent = config.no_user_agent ? "" : std::string("s3cache/") + kVersion;

  options.url = config.url;
  if (config.servicepath != "/") options.url += config.servicepath;
  options.bucket = config.bucket;
  if (!config.region.empty()) options.region = config.region;
  options.path_style = config.path_style;
  options.credentials = std::move(credentials);
  options.retries = static_cast<int>(config.retries);
  options.requester_pays = config.requester_pays;
  options.unsigned_payload = config.unsigned_payload;
  return options;
}

Result<s3::RoleOptions> role_options(const config::Config& config) {
  s3::RoleOptions options;
  options.container = config.ecs;
  if (config.iam_role != "auto") options.role = config.iam_role;
  options.v1_only = config.imds_v1_only;
  if (!config.instance_metadata_url.empty()) options.instance_url = config.instance_metadata_url;
  while (options.instance_url.ends_with('/')) options.instance_url.pop_back();
  options.container_path = config.container_path;
  options.container_token = config.container_token;
  options.container_token_file = config.container_token_file;
  if (config.ecs && config.container_path.empty()) {
    const std::string& url = config.container_url;
    const size_t slash = url.starts_with("http://") ? url.find('/', 7) : std::string::npos;
    if (slash == std::string::npos)
      return Error{Code::kInvalid,
                   "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + url + ": expected http://HOST[:PORT]/PATH"};
    options.container_url = url.substr(0, slash);
    options.container_path = url.substr(slash);
  }
  return options;
}

cache::CacheDirOptions cache_dir_options(const config::Config& config, const std::string& root) {
  cache::CacheDirOptions options;
  options.root = root;
  const std::string service = config.servicepath == "/" ? "" : config.servicepath;
  options.identity = config.url + service + "\n" + config.bucket + "\n" + config.prefix;
  options.bucket = config.bucket;
  options.create_root = !config.check_cache_dir_exist;
  // It counts as part of the cache, so a small cache gets a small one.
  if (config.cache_size > 0)
    options.ballast_bytes = std::clamp(config.cache_size / 64, kLeastBallast, kMostBallast);
  return options;
}

int64_t min_free_bytes(const config::Config& config, int64_t total) {
  if (config.ensure_diskfree != 0) return config.ensure_diskfree;
  return total / 100 * config.free_space_ratio;
}

namespace {
// A name takes some 300 bytes of the store: a tenth of the cache. A small cache knows a large bucket, too.
int64_t most_names(const config::Config& config) {
  constexpr int64_t kLeast = 2'000'000, kMost = 50'000'000;
  if (config.cache_size == 0) return kMost;
  return std::clamp(config.cache_size / 3072, kLeast, kMost);
}
}  // namespace

core::FilesystemOptions filesystem_options(const config::Config& config, int64_t min_free) {
  core::FilesystemOptions options;
  core::NamespaceOptions& names = options.names;
  names.attr = config.attr == "list" ? core::AttrMode::kList : core::AttrMode::kHead;
  names.ttl_since_access = config.stat_cache_interval_expire >= 0;
  names.ttl_ms =
      1000 * (names.ttl_since_access ? config.stat_cache_interval_expire : config.stat_cache_expire);
  names.negative_cache = config.negative_cache;
  names.small_file = config.small_file;
  names.max_parallel_heads = static_cast<int>(config.max_connections);
  names.compat_dir = config.compat_dir;
  names.max_entries = config.max_stat_cache_size >= 0 ? config.max_stat_cache_size : most_names(config);

  names.force_uid = config.uid >= 0;
  names.force_gid = config.gid >= 0;
  names.default_uid = names.force_uid ? static_cast<uint32_t>(config.uid) : ::geteuid();
  names.default_gid = names.force_gid ? static_cast<uint32_t>(config.gid) : ::getegid();
  names.force_umask = config.umask >= 0;
  names.umask = names.force_umask ? static_cast<uint32_t>(config.umask) : 0;
  const uint32_t hidden = config.mp_umask >= 0 ? static_cast<uint32_t>(config.mp_umask) : 0;
  names.root_mode = config.allow_other ? 0777 & ~hidden : 0700;
  if (names.force_umask) names.root_mode = 0777 & ~names.umask;

  options.readahead.min_fetch = config.min_fetch;
  options.readahead.max_window = config.read_ahead;
  options.budget.limit = config.cache_size;
  options.budget.min_free = min_free;
  options.prefix = config.prefix;
  options.mem_limit = config.mem_limit;
  options.bucket_size = config.bucket_size;
  options.scrub_interval_s = config.scrub_interval;
  options.read_only = config.read_only;
  set_upload_options(config, options.upload);
  return options;
}

fuse::Options fuse_options(const config::Config& config, const std::string& mount_point,
                           const std::string& cache_path) {
  fuse::Options options;
  options.mountpoint = mount_point;
  options.fsname = config.fsname.empty() ? config.program : config.fsname;
  options.subtype = config.subtype.empty() ? config.program : config.subtype;
  options.allow_other = config.allow_other;
  options.nonempty = config.nonempty;
  options.read_only = config.read_only;
  options.use_xattr = config.use_xattr;
  options.passthrough = config.passthrough;
  options.max_background = static_cast<int>(config.max_background);
  options.cache_dir = config.passthrough ? cache_path : "";
  options.mount_options = config.kernel_options;
  if (config.fuse_debug) options.mount_options.emplace_back("debug");
  return options;
}

}  // namespace s3cache::app
