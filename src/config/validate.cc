#include "config/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace s3cache::config {
namespace {

Error invalid(std::string message) { return {Code::kInvalid, std::move(message)}; }

// "BUCKET:/a/b/" -> bucket and prefix "a/b/".
Status split_bucket(Config& config) {
  if (config.bucket.find("://") != std::string::npos) {
    return invalid(fmt::format(
        "bucket {} looks like an URL: give the bucket's name, and the endpoint with -o url=", config.bucket));
  }
  const size_t colon = config.bucket.find(':');
  if (colon != std::string::npos) {
    std::string path = config.bucket.substr(colon + 1);
    config.bucket.erase(colon);
    if (path.empty() || path[0] != '/') {
      return invalid(fmt::format("path({}) must be prefix \"/\": write {}:/{}", path, config.bucket, path));
    }
    const size_t last = path.find_last_not_of('/');
    const size_t first = path.find_first_not_of('/');
    config.prefix = last == std::string::npos ? "" : path.substr(first, last + 1 - first) + "/";
  }
  if (config.bucket.empty())
    return invalid("the bucket's name is empty: s3cache BUCKET[:/PREFIX] MOUNTPOINT");
  return {};
}

Status check_bucket_name(const Config& config) {
  const std::string& name = config.bucket;
  const bool odd = std::any_of(name.begin(), name.end(), [](unsigned char c) {
    return !(std::isalnum(c) || c == '-' || c == '.' || c == '_');
  });
  if (odd || name.front() == '.' || name.size() > 255) {
    return invalid(
        fmt::format("bucket name {} is not one of S3: letters, digits, '-', '.' and '_' only", name));
  }
  if (config.path_style) return {};
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return std::isupper(c); })) {
    return invalid(fmt::format(
        "bucket {} has upper-case letters, which a host name has not: add -o use_path_request_style", name));
  }
  if (name.find('.') != std::string::npos && config.url.starts_with("https://") &&
      !config.no_check_certificate) {
    return invalid(fmt::format(
        "bucket {} has a dot, which no https certificate covers: add -o use_path_request_style", name));
  }
  return {};
}

Status check_endpoint(Config& config) {
  std::string& url = config.url;
  const size_t scheme = url.starts_with("https://") ? 8 : url.starts_with("http://") ? 7 : 0;
  if (scheme == 0) {
    return invalid(fmt::format("option url={}: expected http://HOST[:PORT] or https://HOST[:PORT]", url));
  }
  while (url.size() > scheme && url.back() == '/') url.pop_back();
  if (url.size() == scheme)
    return invalid("option url: the host's name is missing, write http://HOST[:PORT]");
  if (url.find('@') != std::string::npos) {
    return invalid("option url: keys do not belong into the URL, use -o passwd_file=");
  }
  // A path behind the host is what servicepath is for.
  if (const size_t slash = url.find('/', scheme); slash != std::string::npos) {
    if (config.servicepath == "/") config.servicepath = url.substr(slash);
    url.erase(slash);
  }
  if (!config.servicepath.starts_with('/')) {
    return invalid(
        fmt::format("option servicepath={}: expected a path that starts with /", config.servicepath));
  }
  if (!config.servicepath.ends_with('/')) config.servicepath += '/';
  if (config.proxy.find('@') != std::string::npos) {
    return invalid("option proxy: a password does not belong here, use -o proxy_cred_file=FILE");
  }
  return {};
}

Status check_key_sources(const Config& config) {
  if (config.iam_role.empty() && !config.ecs) return {};
  const std::string role = config.ecs ? "ecs" : "iam_role";
  if (!config.passwd_file.empty())
    return invalid(fmt::format("{} and passwd_file name two sources of keys: leave one of them out", role));
  if (config.public_bucket)
    return invalid(fmt::format("public_bucket sends no keys: leave it out, or {}", role));
  if (config.ecs && !config.iam_role.empty() && config.iam_role != "auto")
    return invalid("ecs has the container's own role: leave iam_role out");
  if (config.ecs && config.container_path.empty() && config.container_url.empty())
    return invalid(
        "option ecs: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not "
        "set, which a container with a role has");
  return {};
}

Status check_pairs(const Config& config) {
  if (config.ensure_diskfree != 0 && config.free_space_ratio != Config{}.free_space_ratio) {
    return invalid("ensure_diskfree and free_space_ratio say the same in two ways: leave one of them out");
  }
  if (config.check_cache_dir_exist && config.use_cache.empty()) {
    return invalid("check_cache_dir_exist needs a folder to look for: add -o use_cache=DIR");
  }
  if (config.writeback && config.use_cache.empty()) {
    return invalid("writeback keeps what it promised in the cache folder: add -o use_cache=DIR");
  }
  const std::string& sse = config.use_sse;
  if (sse.starts_with("custom") || sse.starts_with("c:") || sse.starts_with("/")) {
    return Error{Code::kUnsupported,
                 "option use_sse: customer keys (SSE-C) are not supported: use 1 or kmsid:ID"};
  }
  if (!sse.empty() && sse != "1" && !(sse.starts_with("kmsid:") && sse.size() > 6) &&
      !(sse.starts_with("k:") && sse.size() > 2)) {
    return invalid(fmt::format("option use_sse={}: expected 1 or kmsid:ID", sse));
  }
  return {};
}

}  // namespace

Status validate(Config& config) {
  if (auto status = split_bucket(config); !status) return status;
  if (auto status = check_endpoint(config); !status) return status;
  if (auto status = check_bucket_name(config); !status) return status;
  if (auto status = check_key_sources(config); !status) return status;
  return check_pairs(config);
}

}  // namespace s3cache::config
