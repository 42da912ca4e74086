#include "app/floor_options.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <map>

#include "config/parse.h"

using namespace s3cache;

namespace {

config::Config parsed(const std::string& options, const std::map<std::string, std::string>& variables = {}) {
  config::Environment env;
  env.get = [&variables](const char* name) {
    const auto it = variables.find(name);
    return it == variables.end() ? std::string() : it->second;
  };
  auto config = config::parse_command_line({"s3fs", "bkt:/p", "/mnt", "-o", options}, env);
  INFO((config.ok() ? "" : config.error().message));
  REQUIRE(config.ok());
  return *config;
}

}  // namespace

TEST_CASE("network options reach the client") {
  const auto options = app::s3_options(
      parsed("url=http://h/"
             "base,region=r,max_thread_count=7,network_threads=3,connect_timeout=4,readwrite_timeout=5,"
             "retries=6,no_check_certificate,ssl_verify_hostname=0,ipresolve=IPv6,requester_pays,use_path_"
             "request_style,"
             "ssl_client_cert=c:PEM:k:DER:a:b"),
      std::make_shared<s3::AnonymousCredentials>());
  REQUIRE(options.ok());
  CHECK(options->url == "http://h/base/");
  CHECK(options->bucket == "bkt");
  CHECK(options->region == "r");
  CHECK(options->path_style);
  CHECK(options->requester_pays);
  CHECK(options->retries == 6);
  CHECK(options->http.max_connections == 7);
  CHECK(options->http.network_threads == 3);
  CHECK(options->http.connect_timeout_s == 4);
  CHECK(options->http.readwrite_timeout_s == 5);
  CHECK_FALSE(options->http.verify_peer);
  CHECK_FALSE(options->http.verify_host);
  CHECK(options->http.ip_resolve == s3::IpResolve::kV6);
  CHECK(options->http.client_key_type == "DER");
  CHECK(options->http.client_key_password == "a:b");
}

TEST_CASE("a role is that of the instance or of the container, at the address of the environment") {
  const auto named = app::role_options(parsed("iam_role=my-role,imdsv1only"));
  REQUIRE(named.ok());
  CHECK_FALSE(named->container);
  CHECK(named->role == "my-role");
  CHECK(named->v1_only);
  CHECK(named->instance_url == "http://169.254.169.254");
  const auto bare =
      app::role_options(parsed("iam_role", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[::1]:80/"}}));
  CHECK(bare->role.empty());
  CHECK_FALSE(bare->v1_only);
  CHECK(bare->instance_url == "http://[::1]:80");
  const auto relative =
      app::role_options(parsed("ecs", {{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"},
                                       {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://h/y"}}));
  CHECK(relative->container);
  CHECK(relative->container_url == "http://169.254.170.2");
  CHECK(relative->container_path == "/v2/x");
  const auto full = app::role_options(parsed("ecs", {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://h:1/y/z"},
                                                     {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "t"},
                                                     {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/f"}}));
  REQUIRE(full.ok());
  CHECK(full->container_url == "http://h:1");
  CHECK(full->container_path == "/y/z");
  CHECK(full->container_token == "t");
  CHECK(full->container_token_file == "/f");
  CHECK(app::role_options(parsed("ecs", {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://h/y"}}))
            .is(Code::kInvalid));
}

TEST_CASE("two mounts share a cache folder only for the same endpoint, bucket and prefix") {
  const std::string one = app::cache_dir_options(parsed("url=http://h"), "/c").identity;
  CHECK(one == "http://h\nbkt\np/");
  CHECK(one != app::cache_dir_options(parsed("url=http://h2"), "/c").identity);
  CHECK(one != app::cache_dir_options(parsed("url=http://h/base"), "/c").identity);
  CHECK(one == app::cache_dir_options(parsed("url=http://h/,retries=1"), "/c").identity);
}

TEST_CASE("free space to keep: megabytes win over the percentage") {
  const int64_t disk = int64_t{1000} << 30;
  CHECK(app::min_free_bytes(parsed("ro"), disk) == disk / 100 * 10);
  CHECK(app::min_free_bytes(parsed("free_space_ratio=25"), disk) == disk / 100 * 25);
  CHECK(app::min_free_bytes(parsed("ensure_diskfree=5"), disk) == 5 << 20);
}

TEST_CASE("owners, modes and times as the options say") {
  const auto plain = app::filesystem_options(parsed("ro"), 0).names;
  CHECK(plain.default_uid == ::geteuid());
  CHECK_FALSE(plain.force_uid);
  CHECK(plain.root_mode == 0700);
  CHECK(plain.ttl_ms == 900'000);
  CHECK(app::filesystem_options(parsed("allow_other"), 0).names.root_mode == 0777);
  CHECK(app::filesystem_options(parsed("allow_other,mp_umask=022"), 0).names.root_mode == 0755);
  const auto forced = app::filesystem_options(parsed("uid=33,gid=34,umask=077,attr=list"), 0).names;
  CHECK(forced.force_uid);
  CHECK(forced.default_uid == 33);
  CHECK(forced.default_gid == 34);
  CHECK(forced.force_umask);
  CHECK(forced.root_mode == 0700);
  CHECK(forced.attr == core::AttrMode::kList);
  const auto interval = app::filesystem_options(parsed("stat_cache_interval_expire=60"), 0).names;
  CHECK(interval.ttl_since_access);
  CHECK(interval.ttl_ms == 60'000);
}

TEST_CASE("the kernel sees the name the program was called by") {
  const auto options = app::fuse_options(parsed("noatime,nodev,_netdev,allow_other,rw"), "/mnt", "/c");
  CHECK(options.fsname == "s3fs");
  CHECK(options.subtype == "s3fs");
  CHECK(options.allow_other);
  CHECK_FALSE(options.read_only);
  CHECK(app::fuse_options(parsed("ro"), "/mnt", "/c").read_only);
  CHECK(options.cache_dir == "/c");
  CHECK(options.mount_options == std::vector<std::string>{"noatime", "nodev"});
  CHECK(app::fuse_options(parsed("nopassthrough"), "/mnt", "/c").cache_dir.empty());
}

TEST_CASE("log level and place") {
  CHECK(app::log_options(parsed("ro")).level == log::Level::kWarn);
  CHECK(app::log_options(parsed("dbglevel=Critical")).level == log::Level::kCritical);
  CHECK(app::log_options(parsed("dbglevel=wan")).level == log::Level::kWarn);
  CHECK(app::log_options(parsed("dbglevel=dbg")).level == log::Level::kDebug);
  CHECK(app::log_options(parsed("ro")).sink == log::Sink::kSyslog);
  CHECK(app::log_options(parsed("logfile=/x")).sink == log::Sink::kFile);
  CHECK(app::log_options(parsed("instance_name=a")).ident == "s3fs[a]");
}
