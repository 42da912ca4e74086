#include "app/mount_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "app/cli.h"
#include "app/daemonize.h"
#include "app/file_credentials.h"
#include "app/floor_options.h"
#include "app/mount_point.h"
#include "app/mounted.h"
#include "app/signals.h"
#include "base/log.h"
#include "config/credentials_files.h"

namespace s3cache::app {
namespace {

// Null: of a role, see role_credentials().
Result<std::shared_ptr<s3::CredentialsProvider>> find_credentials(const config::Config& config,
                                                                  const config::Environment& env) {
  std::shared_ptr<s3::CredentialsProvider> provider;
  if (config.public_bucket) {
    provider = std::make_shared<s3::AnonymousCredentials>();
    return provider;
  }
  if (config.ecs || !config.iam_role.empty()) return provider;
  config::CredentialsQuery query;
  query.bucket = config.bucket;
  query.passwd_file = config.passwd_file;
  query.profile = config.profile;
  query.use_session_token = config.use_session_token;
  auto files = std::make_shared<config::CredentialsFiles>(std::move(query), env);
  if (auto keys = files->load(); !keys) return keys.error();
  provider = std::make_shared<FileCredentials>(std::move(files));
  return provider;
}

// A thread renews them, which a fork would lose: only in the process that serves.
Result<std::shared_ptr<s3::CredentialsProvider>> role_credentials(const config::Config& config) {
  auto options = role_options(config);
  if (!options) return options.error();
  auto made = s3::RoleCredentials::create(std::move(*options));
  if (!made) {
    const char* hint =
        config.ecs ? "ecs is for containers with a role" : "iam_role is for EC2 instances with a role";
    return Error{made.code(), fmt::format("{}; {}", made.error().message, hint)};
  }
  return std::shared_ptr<s3::CredentialsProvider>(std::move(*made));
}

void log_notices(const config::Config& config) {
  std::string list;
  for (const std::string& notice : config.notices) list += (list.empty() ? "" : ", ") + notice;
  if (!list.empty()) log::warn("options without effect: {}", list);
}

// The process that serves: in the background the child, in the foreground this one.
int serve(const config::Config& config, const std::string& mount_point,
          std::shared_ptr<s3::CredentialsProvider> credentials, Launcher& launcher) {
  Signals::block();
  if (auto status = log::init(log_options(config)); !status) {
    return launcher.fail(fmt::format("{}: use a logfile= that this user may write", status.error().message));
  }
  log_notices(config);
  Signals signals;
  if (!credentials) {
    auto role = role_credentials(config);
    if (!role) return launcher.fail(role.error().message);
    credentials = std::move(*role);
  }
  Mounted mounted(config, signals);
  if (auto status = mounted.start(mount_point, std::move(credentials)); !status) {
    // Where the log is the standard error, fail() says it.
    if (log_options(config).sink != log::Sink::kStderr) log::error("{}", status.error().message);
    return launcher.fail(status.error().message);
  }
  if (!launcher.ready()) return 1;
  log::info("{}{} is mounted on {}", config.bucket, config.prefix.empty() ? "" : ":/" + config.prefix,
            mount_point);
  if (auto status = mounted.serve(); !status) {
    log::error("{}", status.error().message);
    return 1;
  }
  log::info("{} is unmounted", mount_point);
  return 0;
}

}  // namespace

int mount_command(const config::Config& config, const config::Environment& env) {
  Launcher launcher(config.program, config.foreground);
  auto mount_point = check_mount_point(config.mountpoint, config.nonempty);
  if (!mount_point) return launcher.fail(mount_point.error().message);
  for (const std::string& folder :
       {config.use_cache.empty() ? config.tmpdir : config.use_cache, config.logfile}) {
    if (auto status = check_cache_outside(*mount_point, folder); !status)
      return launcher.fail(status.error().message);
  }
  auto credentials = find_credentials(config, env);
  if (!credentials) return launcher.fail(credentials.error().message);
  if (auto status = check_fuse_device(); !status) return launcher.fail(status.error().message);
  const auto& words = config.kernel_options;
  const bool others =
      config.allow_other || std::find(words.begin(), words.end(), "allow_root") != words.end();
  if (others && ::geteuid() != 0) {
    if (auto status = check_allow_other(); !status) return launcher.fail(status.error().message);
  }
  if (const auto exit_code = launcher.launch()) return *exit_code;
  return serve(config, *mount_point, std::move(*credentials), launcher);
}

}  // namespace s3cache::app
