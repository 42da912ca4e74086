#include "config/credentials_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/unique_fd.h"

namespace s3cache::config {
namespace {

constexpr size_t kMostBytes = 1 << 20;  // a key file has a few lines; /dev/zero must not fill the memory

struct FileText {
  std::string text;
  struct stat st;
};

Error cannot_read(const std::string& path, int err) {
  const Code code = err == ENOENT || err == ENOTDIR ? Code::kNotFound : Code::kAccessDenied;
  const std::string_view fix = code == Code::kNotFound ? "check its name" : "make it readable for this user";
  return {code, fmt::format("credentials file {} is not readable ({}): {}", path, std::strerror(err), fix)};
}

Result<FileText> read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return cannot_read(path, errno);
  FileText file;
  if (::fstat(fd.get(), &file.st) != 0) return cannot_read(path, errno);
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot_read(path, errno);
    if (n == 0) return file;
    file.text.append(buffer, static_cast<size_t>(n));
    if (file.text.size() > kMostBytes) {
      return Error{Code::kInvalid,
                   fmt::format("credentials file {} is over 1 MiB: is it the right file?", path)};
    }
  }
}

bool exists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0;
}

}  // namespace

bool CredentialsFiles::Stamp::operator==(const Stamp& o) const {
  return dev == o.dev && ino == o.ino && size == o.size && mtime.tv_sec == o.mtime.tv_sec &&
         mtime.tv_nsec == o.mtime.tv_nsec;
}

CredentialsFiles::Stamp CredentialsFiles::stamp_of(const struct stat& st) {
  return {st.st_dev, st.st_ino, st.st_size, st.st_mtim};
}

Result<Keys> CredentialsFiles::load() {
  MutexLock lock(mu_);
  auto keys = find();
  if (!keys) return keys;
  if (query_.use_session_token && keys->session_token.empty()) {
    return Error{Code::kInvalid,
                 fmt::format("use_session_token: no session token comes with the keys of {}: set "
                             "AWS_SESSION_TOKEN or aws_session_token",
                             keys->source)};
  }
  keys_ = *keys;
  return keys;
}

Keys CredentialsFiles::current() {
  MutexLock lock(mu_);
  struct stat st {};
  if (kind_ == Kind::kNone || ::stat(path_.c_str(), &st) != 0 || stamp_of(st) == stamp_) return keys_;
  // Whatever comes of it, this content is looked at once.
  stamp_ = stamp_of(st);
  const std::string path = path_;
  auto keys = from_file(kind_, path);
  if (keys) {
    keys_ = *keys;
    log::info("keys read again from {}", keys_.source);
  } else {
    log::warn("keeping the old keys: {}", keys.error().message);
  }
  return keys_;
}

Result<Keys> CredentialsFiles::find() {
  if (!query_.passwd_file.empty()) return from_file(Kind::kPasswd, query_.passwd_file);
  if (auto keys = from_environment(); !keys.is(Code::kNotFound)) return keys;
  if (const std::string path = env_.get("AWS_CREDENTIAL_FILE"); !path.empty())
    return from_file(Kind::kPasswd, path);

  const std::string named = env_.get("AWS_SHARED_CREDENTIALS_FILE");
  const std::string aws = named.empty() ? env_.home + "/.aws/credentials" : named;
  // Only the default profile may be absent: a profile somebody named must not turn into other keys.
  const bool must = query_.profile != "default" || !named.empty();
  if (must || exists(aws)) {
    auto keys = from_file(Kind::kAws, aws);
    if (must || !keys.is(Code::kNotFound)) return keys;
  }
  const std::string home = env_.get("HOME");
  if (const std::string own = home + "/.passwd-s3fs"; !home.empty() && exists(own))
    return from_file(Kind::kPasswd, own);
  if (exists(env_.system_passwd)) return from_file(Kind::kSystemPasswd, env_.system_passwd);
  return Error{
      Code::kNotFound,
      "could not determine how to establish security credentials: give -o passwd_file=FILE, -o profile=NAME "
      "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"};
}

Result<Keys> CredentialsFiles::from_environment() {
  const auto either = [&](const char* name, const char* old_name) {
    std::string value = env_.get(name);
    return value.empty() ? env_.get(old_name) : value;
  };
  Keys keys;
  keys.access_key = either("AWS_ACCESS_KEY_ID", "AWSACCESSKEYID");
  keys.secret_key = either("AWS_SECRET_ACCESS_KEY", "AWSSECRETACCESSKEY");
  keys.session_token = either("AWS_SESSION_TOKEN", "AWSSESSIONTOKEN");
  keys.source = "the environment";
  if (keys.access_key.empty() && keys.secret_key.empty()) return Error{Code::kNotFound, ""};
  if (keys.access_key.empty() || keys.secret_key.empty()) {
    return Error{Code::kInvalid,
                 fmt::format("{} is set without {}: set both or none",
                             keys.access_key.empty() ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID",
                             keys.access_key.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY")};
  }
  return keys;
}

Result<Keys> CredentialsFiles::from_file(Kind kind, const std::string& path) {
  auto file = read_file(path);
  if (!file) return file.error();
  Result<Keys> keys = Keys{};
  if (kind == Kind::kAws) {
    auto found = parse_aws_credentials(path, file->text, query_.profile);
    if (!found) return found.error();
    if (!found->has_value()) {
      return Error{Code::kNotFound, fmt::format("profile {} is not in {}: add a section [{}]", query_.profile,
                                                path, query_.profile)};
    }
    keys = std::move(**found);
  } else {
    if (auto mode = check_passwd_mode(path, file->st.st_mode, kind == Kind::kSystemPasswd); !mode)
      return mode.error();
    keys = parse_passwd_file(path, file->text, query_.bucket);
  }
  if (!keys) return keys;
  kind_ = kind;
  path_ = path;
  stamp_ = stamp_of(file->st);
  return keys;
}

Result<std::string> load_proxy_credentials(const std::string& path) {
  auto file = read_file(path);
  if (!file) return file.error();
  if (auto mode = check_passwd_mode(path, file->st.st_mode, false); !mode) return mode.error();
  auto keys = parse_passwd_file(path, file->text, "");
  if (!keys) return keys.error();
  return keys->access_key + ":" + keys->secret_key;
}

}  // namespace s3cache::config
