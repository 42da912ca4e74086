#include "config/passwd_file.h"

#include <fmt/format.h>

#include <map>
#include <string_view>

#include "config/values.h"

namespace s3cache::config {
namespace {

std::string_view trim(std::string_view s) {
  const size_t first = s.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r") + 1 - first);
}

// Calls visit(number, line) for every line that is neither blank nor a comment, until visit fails.
template <class Visit>
Status each_line(std::string_view text, Visit visit) {
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line[0] == '#') continue;
    if (auto status = visit(number, line); !status) return status;
  }
  return {};
}

Error bad_line(const std::string& path, int number, std::string_view what) {
  return {Code::kInvalid, fmt::format("credentials file {} line {}: {}", path, number, what)};
}

// Collects the lines of an s3fs password file; the empty bucket is the default.
class PasswdLines {
 public:
  explicit PasswdLines(const std::string& path) : path_(path) {}

  Status add(int number, std::string_view line) {
    if (line.find_first_of(" \t") != std::string_view::npos) {
      return bad_line(path_, number, "a space or tab inside the line, write KEY:SECRET");
    }
    if (line[0] == '[') {
      return bad_line(path_, number,
                      "a section in brackets, which is for ~/.aws/credentials; write KEY:SECRET");
    }
    if (line.starts_with("AWSAccessKeyId=")) {
      old_style_.access_key = line.substr(line.find('=') + 1);
      return {};
    }
    if (line.starts_with("AWSSecretKey=")) {
      old_style_.secret_key = line.substr(line.find('=') + 1);
      return {};
    }
    const size_t first = line.find(':'), last = line.rfind(':');
    if (first == std::string_view::npos) return bad_line(path_, number, "no ':', write KEY:SECRET");
    const std::string bucket(first == last ? "" : line.substr(0, first));
    const size_t key = first == last ? 0 : first + 1;
    Keys keys;
    keys.access_key = line.substr(key, last - key);
    keys.secret_key = line.substr(last + 1);
    if (keys.access_key.empty() || keys.secret_key.empty()) {
      return bad_line(path_, number, "key or secret is empty, write KEY:SECRET");
    }
    if (!by_bucket_.emplace(bucket, keys).second) {
      return bad_line(path_, number, "the second line for the same bucket, keep one of them");
    }
    return {};
  }

  Result<Keys> pick(const std::string& bucket) const {
    auto it = by_bucket_.find(bucket);
    if (it == by_bucket_.end()) it = by_bucket_.find("");
    if (it != by_bucket_.end()) return it->second;
    if (!old_style_.access_key.empty() && !old_style_.secret_key.empty()) return old_style_;
    return Error{Code::kNotFound,
                 fmt::format("credentials file {} has no line for bucket {}: add KEY:SECRET", path_, bucket)};
  }

 private:
  const std::string path_;
  std::map<std::string, Keys> by_bucket_;
  Keys old_style_;
};

}  // namespace

Result<Keys> parse_passwd_file(const std::string& path, const std::string& text, const std::string& bucket) {
  PasswdLines lines(path);
  const Status status =
      each_line(text, [&](int number, std::string_view line) { return lines.add(number, line); });
  if (!status) return status.error();
  auto keys = lines.pick(bucket);
  if (keys) keys->source = path;
  return keys;
}

Status check_passwd_mode(const std::string& path, mode_t mode, bool system_file) {
  const auto refuse = [&](std::string_view what, std::string_view fix) {
    return Error{Code::kAccessDenied,
                 fmt::format("credentials file {} should not have {}: chmod {} {}", path, what, fix, path)};
  };
  const std::string_view fix = system_file ? "640" : "600";
  if ((mode & S_IRWXO) != 0) return refuse("others permissions", fix);
  if (!system_file && (mode & S_IRWXG) != 0) return refuse("group permissions", fix);
  if ((mode & S_IWGRP) != 0) return refuse("group writable permissions", fix);
  if ((mode & (S_IXUSR | S_IXGRP)) != 0) return refuse("executable permissions", fix);
  return {};
}

Result<std::optional<Keys>> parse_aws_credentials(const std::string& path, const std::string& text,
                                                  const std::string& profile) {
  Keys keys;
  bool inside = false, seen = false;
  const Status status = each_line(text, [&](int number, std::string_view line) -> Status {
    if (line[0] == '[') {
      if (!line.ends_with(']')) return bad_line(path, number, "a section without its closing bracket");
      inside = trim(line.substr(1, line.size() - 2)) == profile;
      seen = seen || inside;
      return {};
    }
    const size_t equals = line.find('=');
    if (!inside || equals == std::string_view::npos) return {};
    const std::string name = to_lower(trim(line.substr(0, equals)));
    const std::string value(trim(line.substr(equals + 1)));
    if (name == "aws_access_key_id") keys.access_key = value;
    if (name == "aws_secret_access_key") keys.secret_key = value;
    if (name == "aws_session_token") keys.session_token = value;
    return {};
  });
  if (!status) return status.error();
  if (!seen) return std::optional<Keys>();
  if (keys.access_key.empty() || keys.secret_key.empty()) {
    return Error{Code::kInvalid,
                 fmt::format("profile {} in {} needs both aws_access_key_id and aws_secret_access_key",
                             profile, path)};
  }
  keys.source = fmt::format("{} [{}]", path, profile);
  return std::optional<Keys>(std::move(keys));
}

}  // namespace s3cache::config
